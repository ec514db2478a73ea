// The wall of charts. Rows of panels are virtual: a project of ten thousand metrics mounts the few in view.

import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Metric } from "../api/types";
import type { Look } from "../charts/plot";
import type { ChangeView, View } from "../state/view";
import { integer } from "../ui/format";
import { useWidth } from "../ui/hooks";
import { ChevronIcon } from "../ui/icons";
import { Empty } from "../ui/notice";
import { useShortcuts } from "../ui/shortcuts";
import { FullScreen } from "./full-screen";
import { Panel } from "./panel";
import { makeRows, makeSections, type Section } from "./sections";

const headHeight = 34;
const panelHeight = 236;
const panelWidth = 340;
const gap = 10;
const side = 14;

interface PanelsProps {
  /** Whose toggled sections are remembered. */
  scope: string;
  metrics: readonly Metric[];
  runs: readonly string[];
  looks: ReadonlyMap<string, Look>;
  view: View;
  change: ChangeView;
  /** What section a metric belongs to, where that is not what stands before its first slash. */
  sectionOf?: (key: string) => string;
  /** What a panel is called, where that is not its metric. */
  titleOf?: (key: string) => string;
}

export function Panels(props: PanelsProps) {
  const { metrics, view, sectionOf } = props;
  const sections = useMemo(
    () => makeSections(metrics, view.metricFilter, sectionOf),
    [metrics, view.metricFilter, sectionOf],
  );
  if (sections.length === 0) {
    return (
      <Empty
        title={metrics.length === 0 ? "Nothing logged yet" : "No metric matches"}
        {...(metrics.length === 0 ? { code: 'run.log({"loss": 0.5})' } : {})}
      >
        {metrics.length > 0 && <p>The search is a regular expression over metric names.</p>}
      </Empty>
    );
  }
  return <Wall {...props} sections={sections} />;
}

// A component of its own, mounted with its element: what measures an element looks for it once, when it is mounted.
function Wall({ scope, metrics, runs, looks, view, change, titleOf, sections }: PanelsProps & { sections: readonly Section[] }) {
  const wall = useRef<HTMLDivElement>(null);
  const width = useWidth(wall) - 2 * side;
  const columns = Math.max(1, Math.floor((width + gap) / (panelWidth + gap)));
  const [toggled, toggle] = useToggledSections(scope);
  const rows = useMemo(() => makeRows(sections, toggled, columns), [sections, toggled, columns]);
  const order = useMemo(() => sections.flatMap((section) => section.metrics), [sections]);

  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => wall.current,
    estimateSize: (index) => (rows[index]!.kind === "head" ? headHeight : panelHeight + gap),
    getItemKey: (index) => {
      const row = rows[index]!;
      return row.kind === "head" ? `# ${row.section.name}` : row.metrics[0]!.key;
    },
    overscan: 1,
  });
  // Sizes are known beforehand and never measured, so a change of the rows has to be said.
  useEffect(() => virtual.measure(), [rows, virtual]);

  const openFull = useCallback((key: string) => change.full(key), [change]);
  useShortcuts({
    f: () => {
      const under =
        document.querySelector<HTMLElement>(".panel:focus-within, .panel:focus") ??
        document.querySelector<HTMLElement>(".panel:hover");
      const key = view.full === null ? (under?.dataset["metric"] ?? order[0]?.key) : null;
      change.full(key ?? null);
    },
  });

  const cell = (width - (columns - 1) * gap) / columns;
  const shared = { runs, looks, view, change };
  const full =
    view.full === null
      ? undefined
      : (order.find((metric) => metric.key === view.full) ?? metrics.find((metric) => metric.key === view.full));
  return (
    <div className="wall" ref={wall}>
      {width > 0 && (
        <div className="wall-inner" style={{ height: virtual.getTotalSize() + gap }}>
          {virtual.getVirtualItems().map((item) => {
            const row = rows[item.index];
            if (!row) return null;
            if (row.kind === "head") {
              return (
                <div
                  key={item.key}
                  className="section-head"
                  style={{ transform: `translateY(${item.start}px)`, height: headHeight }}
                >
                  <button type="button" aria-expanded={row.isOpen} onClick={() => toggle(row.section.name)}>
                    <ChevronIcon isOpen={row.isOpen} />
                    <span>{row.section.name || "metrics"}</span>
                    <span className="count">{integer(row.section.metrics.length)}</span>
                  </button>
                </div>
              );
            }
            return (
              <div
                key={item.key}
                className="panel-row"
                style={{ transform: `translateY(${item.start}px)`, gap, left: side, right: side }}
              >
                {row.metrics.map((metric) => (
                  <Panel
                    key={metric.key}
                    metric={metric}
                    width={cell}
                    height={panelHeight}
                    onExpand={openFull}
                    {...(titleOf ? { title: titleOf(metric.key) } : {})}
                    {...shared}
                  />
                ))}
              </div>
            );
          })}
        </div>
      )}
      {full && <FullScreen metric={full} order={order} {...shared} />}
    </div>
  );
}

// Remembered on this machine rather than in the address: it is a habit of the reader, not part of the picture.
function useToggledSections(scope: string): [ReadonlySet<string>, (name: string) => void] {
  const storageKey = `tracker.closed:${scope}`;
  const [toggled, setToggled] = useState<ReadonlySet<string>>(() => {
    try {
      const stored: unknown = JSON.parse(localStorage.getItem(storageKey) ?? "[]");
      return new Set(Array.isArray(stored) ? stored.map(String) : []);
    } catch {
      return new Set();
    }
  });
  const toggle = useCallback(
    (name: string) =>
      setToggled((before) => {
        const next = new Set(before);
        if (!next.delete(name)) next.add(name);
        try {
          localStorage.setItem(storageKey, JSON.stringify([...next]));
        } catch {
          // Then it is remembered until the page is closed.
        }
        return next;
      }),
    [storageKey],
  );
  return [toggled, toggle];
}

// What the run printed. A window on a list that may be long: pages of it are fetched where the reader looks.

import { useQueries, useQuery, keepPreviousData } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, useState } from "react";
import { fetchConsole } from "../api/client";
import { keys } from "../api/queries";
import type { ConsoleLine, RunDetail } from "../api/types";
import { useParams } from "../state/location";
import { bare, spans } from "../ui/ansi";
import { clock, integer } from "../ui/format";
import { CopyButton } from "../ui/copy";
import { Empty, Loading, Problem } from "../ui/notice";
import { Search } from "../ui/search";
import { useShortcuts } from "../ui/shortcuts";

const pageLines = 500;
const lineHeight = 19;
const atEnd = 60; // Pixels from the end that still count as looking at it.
const levels = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

export function Logs({ run }: { run: RunDetail }) {
  const [params, set] = useParams();
  const search = params.get("find") ?? "";
  const level = params.get("level") ?? "";
  const [withTime, setWithTime] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  useShortcuts({ m: () => field.current?.focus() });
  const filter = useMemo(() => ({ search, level: level ? levels.slice(levels.indexOf(level)) : [] }), [search, level]);
  const head = useQuery({
    queryKey: [...keys.console(run.path), "head", filter],
    queryFn: ({ signal }) => fetchConsole(run.path, { ...filter, offset: 0, limit: 0 }, signal),
    placeholderData: keepPreviousData,
  });
  return (
    <section className="stage logs" aria-label="logs">
      <div className="logs-head">
        <Search value={search} onChange={(text) => set({ find: text })} label="Search what was printed" field={field} />
        <label>
          level{" "}
          <select value={level} onChange={(event) => set({ level: event.target.value || null })}>
            <option value="">all that was printed</option>
            {levels.map((name) => (
              <option key={name} value={name}>
                {name.toLowerCase()} and above
              </option>
            ))}
          </select>
        </label>
        <label>
          <input type="checkbox" checked={withTime} onChange={(event) => setWithTime(event.target.checked)} /> times
        </label>
        <span className="spacer" />
        {head.data && (
          <span className="hint" role="status">
            {integer(head.data.total)} {head.data.total === 1 ? "line" : "lines"}
            {head.data.left_out > 0 && `, ${integer(head.data.left_out)} left out`}
          </span>
        )}
      </div>
      {head.error ? (
        <Problem error={head.error} retry={() => void head.refetch()} />
      ) : !head.data ? (
        <Loading what="what was printed" />
      ) : head.data.total === 0 ? (
        <Empty title={search || level ? "Nothing matches" : "Nothing was printed"}>
          {!search && !level && <p>What the program prints is kept, unless the setting `console` is "off".</p>}
        </Empty>
      ) : (
        <Lines
          key={JSON.stringify(filter)}
          {...{ run, filter, withTime }}
          total={head.data.total}
          mark={head.data.mark}
          showsGaps={!search && !level}
        />
      )}
    </section>
  );
}

interface LinesProps {
  run: RunDetail;
  filter: { search: string; level: string[] };
  total: number;
  /** Changes with every line that is told, so pages are read again. */
  mark: number;
  withTime: boolean;
  showsGaps: boolean;
}

function Lines({ run, filter, total, mark, withTime, showsGaps }: LinesProps) {
  const box = useRef<HTMLDivElement>(null);
  const [isFollowing, setFollowing] = useState(run.state === "running");
  const rows = useVirtualizer({
    count: total,
    getScrollElement: () => box.current,
    estimateSize: () => lineHeight,
    overscan: 30,
  });
  useEffect(() => {
    if (isFollowing) rows.scrollToIndex(total - 1, { align: "end" });
  }, [isFollowing, total, rows]);
  const items = rows.getVirtualItems();
  const first = Math.floor((items[0]?.index ?? 0) / pageLines);
  const last = Math.floor((items[items.length - 1]?.index ?? 0) / pageLines);
  const pages = useQueries({
    queries: Array.from({ length: last - first + 1 }, (_, i) => ({
      queryKey: [...keys.console(run.path), "page", filter, first + i, mark],
      queryFn: ({ signal }: { signal: AbortSignal }) =>
        fetchConsole(run.path, { ...filter, offset: (first + i) * pageLines, limit: pageLines }, signal),
      placeholderData: keepPreviousData,
      gcTime: 30_000,
    })),
  });
  const lineAt = (index: number): ConsoleLine | undefined =>
    pages[Math.floor(index / pageLines) - first]?.data?.lines[index % pageLines];
  return (
    <div
      className="log-lines"
      ref={box}
      tabIndex={0}
      role="log"
      aria-label="what was printed"
      onScroll={(event) => {
        const at = event.currentTarget;
        setFollowing(run.state === "running" && at.scrollHeight - at.scrollTop - at.clientHeight < atEnd);
      }}
    >
      <div style={{ height: rows.getTotalSize(), position: "relative" }}>
        {items.map((item) => {
          const line = lineAt(item.index);
          const before = item.index > 0 ? lineAt(item.index - 1) : undefined;
          const gap = showsGaps && line && before?.stream === line.stream ? line.number - before.number - 1 : 0;
          return (
            <div
              key={item.key}
              className={`log-line${line?.level ? ` is-${line.level.toLowerCase()}` : ""}${line?.source === "stderr" ? " is-stderr" : ""}`}
              style={{ transform: `translateY(${item.start}px)`, height: lineHeight }}
            >
              {line && (
                <>
                  <span className="log-number">{integer(line.number + 1)}</span>
                  {withTime && <span className="log-time">{clock(line.time_ns)}</span>}
                  {line.rank !== null && <span className="log-rank">[{line.rank}]</span>}
                  {gap > 0 && <span className="log-gap">… {integer(gap)} lines left out …</span>}
                  <span className="log-text" title={line.logger ?? undefined}>
                    {spans(line.text).map((span, i) => (
                      <span key={i} className={span.className || undefined}>
                        {span.text}
                      </span>
                    ))}
                  </span>
                  <CopyButton text={() => bare(line.text)} label="copy the line" />
                </>
              )}
            </div>
          );
        })}
      </div>
    </div>
  );
}

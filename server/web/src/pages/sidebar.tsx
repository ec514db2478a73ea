// The runs of a project: search, show and hide, open. Only the rows in view are in the page.

import { useVirtualizer } from "@tanstack/react-virtual";
import { type KeyboardEvent, type RefObject, useEffect, useRef, useState } from "react";
import type { Run } from "../api/types";
import { runColor } from "../charts/color";
import { setFocus } from "../state/focus";
import { navigate, runHref } from "../state/location";
import type { Theme } from "../state/theme";
import { type ChangeView, isVisible, toggleRun, useDraft, type View } from "../state/view";
import { integer } from "../ui/format";
import { EyeIcon, EyeOffIcon } from "../ui/icons";
import { Link } from "../ui/link";
import { Search } from "../ui/search";
import { StateIcon } from "../ui/state-icon";

const rowHeight = 28;

interface SidebarProps {
  listed: readonly Run[];
  total: number;
  view: View;
  change: ChangeView;
  theme: Theme;
  search: RefObject<HTMLInputElement | null>;
}

export function Sidebar({ listed, total, view, change, theme, search }: SidebarProps) {
  const [filter, setFilter] = useDraft(view.runFilter, change.runFilter);
  const [active, setActive] = useState<string | null>(null);
  const list = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: listed.length,
    getScrollElement: () => list.current,
    estimateSize: () => rowHeight,
    overscan: 12,
  });
  useEffect(() => () => setFocus(null), []);

  const solo = (run: Run): void => {
    if (view.only?.size === 1 && view.only.has(run.id)) change.showAll();
    else change.only([run.id]);
  };

  const onKeyDown = (event: KeyboardEvent): void => {
    const at = listed.findIndex((run) => run.path === active);
    const go = (index: number): void => {
      const run = listed[Math.min(Math.max(index, 0), listed.length - 1)];
      if (!run) return;
      setActive(run.path);
      setFocus(run.path);
      rows.scrollToIndex(listed.indexOf(run));
    };
    const run = listed[at];
    if (event.key === "ArrowDown") go(at + 1);
    else if (event.key === "ArrowUp") go(at < 0 ? 0 : at - 1);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(listed.length - 1);
    else if (event.key === " " && run) toggleRun(view, change, run);
    else if (event.key === "o" && run) solo(run);
    else if (event.key === "Enter" && run) navigate(runHref(run.entity, run.project, run.id));
    else return;
    event.preventDefault();
  };

  const shown = listed.reduce((count, run) => count + Number(isVisible(view, run)), 0);
  return (
    <aside className="sidebar" aria-label="runs">
      <div className="sidebar-head">
        <Search value={filter} onChange={setFilter} label="Search runs" field={search} name="runs" />
        <div className="sidebar-counts">
          <span>
            {integer(listed.length)}
            {listed.length !== total && ` of ${integer(total)}`} {total === 1 ? "run" : "runs"}
            {shown !== listed.length && `, ${integer(shown)} shown`}
          </span>
          <button
            type="button"
            className="text-button"
            onClick={() => (shown === listed.length ? change.only([]) : change.showAll())}
          >
            {shown === listed.length ? "hide all" : "show all"}
          </button>
        </div>
      </div>
      <div
        className="run-list"
        ref={list}
        tabIndex={0}
        role="listbox"
        aria-multiselectable="true"
        aria-label="runs; space shows or hides, enter opens"
        aria-activedescendant={active === null ? undefined : rowId(active)}
        onKeyDown={onKeyDown}
        onFocus={() => active === null && listed[0] && setActive(listed[0].path)}
        onBlur={() => setFocus(null)}
        onMouseLeave={() => setFocus(null)}
      >
        {listed.length === 0 && <p className="hint">No run matches this search.</p>}
        <div className="run-list-inner" style={{ height: rows.getTotalSize() }}>
          {rows.getVirtualItems().map((item) => {
            const run = listed[item.index]!;
            return (
              <RunRow
                key={run.path}
                run={run}
                top={item.start}
                color={runColor(run.id, theme, run.color)}
                isShown={isVisible(view, run)}
                isActive={run.path === active}
                onToggle={(alone) => (alone ? solo(run) : toggleRun(view, change, run))}
              />
            );
          })}
        </div>
      </div>
    </aside>
  );
}

const rowId = (path: string): string => `run-${path}`;

interface RunRowProps {
  run: Run;
  top: number;
  color: string;
  isShown: boolean;
  isActive: boolean;
  onToggle: (alone: boolean) => void;
}

function RunRow({ run, top, color, isShown, isActive, onToggle }: RunRowProps) {
  const name = run.name || run.id;
  return (
    <div
      id={rowId(run.path)}
      role="option"
      aria-selected={isShown}
      aria-label={`${name}, ${run.state}`}
      className={`run-row${isShown ? "" : " is-hidden"}${isActive ? " is-active" : ""}`}
      style={{ transform: `translateY(${top}px)` }}
      onMouseEnter={() => setFocus(isShown ? run.path : null)}
    >
      {/* Not in the tab order: the list has the space key for this. */}
      <button
        type="button"
        tabIndex={-1}
        className="icon-button eye"
        aria-label={isShown ? `hide ${name}` : `show ${name}`}
        title={`${isShown ? "hide" : "show"}; with alt: only this run`}
        onClick={(event) => onToggle(event.altKey)}
      >
        {isShown ? <EyeIcon /> : <EyeOffIcon />}
      </button>
      <span className="dot" style={{ background: color }} />
      <Link tabIndex={-1} className="run-name" href={runHref(run.entity, run.project, run.id)} title={describe(run)}>
        {name}
      </Link>
      <StateIcon state={run.state} />
    </div>
  );
}

function describe(run: Run): string {
  const lines = [`${run.name} (${run.id})`, run.state];
  if (run.last_step !== null) lines.push(`step ${integer(run.last_step)}`);
  if (run.tags.length > 0) lines.push(run.tags.join(", "));
  return lines.join("\n");
}

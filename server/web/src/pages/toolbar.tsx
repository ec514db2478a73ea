// How the charts of a page are drawn: search, x axis, smoothing, and what a line stands for.

import { type RefObject, useMemo } from "react";
import type { Metric } from "../api/types";
import { axisTitle, place } from "../charts/axis";
import { type ChangeView, useDraft, type View } from "../state/view";
import { CloseIcon } from "../ui/icons";
import { Search } from "../ui/search";

// A list of ten thousand metrics is no menu; beyond this the address bar (?x=) still takes any of them.
const maxAxisChoices = 200;

interface ToolbarProps {
  view: View;
  change: ChangeView;
  metrics: readonly Metric[];
  search: RefObject<HTMLInputElement | null>;
}

export function Toolbar({ view, change, metrics, search }: ToolbarProps) {
  const [filter, setFilter] = useDraft(view.metricFilter, change.metricFilter);
  const [smoothing, setSmoothing] = useDraft(view.smoothing, change.smoothing);
  const choices = useMemo(
    () =>
      metrics
        .filter((metric) => metric.numeric)
        .slice(0, maxAxisChoices)
        .map((metric) => metric.key),
    [metrics],
  );
  const isOther = view.x !== null && !view.x.startsWith("_") && !choices.includes(view.x);
  return (
    <div className="toolbar" role="toolbar" aria-label="chart settings">
      <Search value={filter} onChange={setFilter} label="Search metrics" field={search} name="metrics" />
      <label>
        x
        <select value={view.x ?? ""} aria-label="x axis" onChange={(event) => change.x(event.target.value || null)}>
          <option value="">auto</option>
          <option value="_step">step</option>
          <option value="_runtime">relative time</option>
          <option value="_time">wall time</option>
          <optgroup label="metrics">
            {isOther && <option value={view.x!}>{view.x}</option>}
            {choices.map((key) => (
              <option key={key} value={key}>
                {key}
              </option>
            ))}
          </optgroup>
        </select>
      </label>
      <label className="smoothing">
        smoothing
        <input
          type="range"
          min={0}
          max={0.99}
          step={0.01}
          value={smoothing}
          onChange={(event) => setSmoothing(Number(event.target.value))}
        />
        <output>{smoothing.toFixed(2)}</output>
      </label>
      <label>
        line
        <select
          value={view.statistic}
          aria-label="what the line stands for where a pixel holds many values"
          onChange={(event) => change.statistic(event.target.value === "last" ? "last" : "mean")}
        >
          <option value="mean">mean</option>
          <option value="last">last</option>
        </select>
      </label>
      <Toggle label="min–max band" isOn={view.withBand} onChange={change.withBand} />
      <Toggle label="log y" isOn={view.logY} onChange={change.logY} />
      {view.zoom && (
        <button type="button" className="chip" onClick={() => change.zoom(null)} title="reset the zoom (r)">
          {axisTitle(view.zoom.axis)} {place(view.zoom.axis, round(view.zoom.low, view.zoom))} –{" "}
          {place(view.zoom.axis, round(view.zoom.high, view.zoom))} <CloseIcon />
        </button>
      )}
    </div>
  );
}

function Toggle({ label, isOn, onChange }: { label: string; isOn: boolean; onChange: (isOn: boolean) => void }) {
  return (
    <button type="button" className="toggle" aria-pressed={isOn} onClick={() => onChange(!isOn)}>
      {label}
    </button>
  );
}

// Pixels give a zoom more digits than anyone asked for.
function round(value: number, { low, high }: { low: number; high: number }): number {
  const digits = Math.max(0, 2 - Math.floor(Math.log10(high - low)));
  return Number(value.toFixed(Math.min(digits, 12)));
}

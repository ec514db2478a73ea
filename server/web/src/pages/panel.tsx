// One metric: its name, its chart, and the words that stand in when there is no chart.

import { memo, useCallback, useMemo, useRef } from "react";
import { useLines } from "../api/queries";
import type { Metric, LineQuery } from "../api/types";
import { axisTitle, place, toAxisUnit } from "../charts/axis";
import { Chart } from "../charts/chart";
import { type Extent, extentOfX, type Look, makeCurves } from "../charts/plot";
import type { ChangeView, View } from "../state/view";
import { useInView } from "../ui/hooks";
import { ExpandIcon } from "../ui/icons";
import { Guard } from "../ui/notice";

const bucketGrain = 50; // Widths are rounded up to this, so that a small resize finds the lines it already has.
const maxBuckets = 2000;
const beside = 50; // What axis and padding take of a panel's width, about.

export interface PanelData {
  metric: Metric;
  runs: readonly string[];
  looks: ReadonlyMap<string, Look>;
  view: View;
  change: ChangeView;
}

interface PanelProps extends PanelData {
  width: number;
  height: number;
  onExpand: (key: string) => void;
  /** By default the metric. */
  title?: string;
}

export const Panel = memo(function Panel({ width, height, onExpand, title, ...data }: PanelProps) {
  const element = useRef<HTMLElement>(null);
  const isInView = useInView(element, 120);
  const { key } = data.metric;
  return (
    <article className="panel" ref={element} tabIndex={0} data-metric={key} aria-label={key} style={{ width, height }}>
      <header>
        <h3 title={key}>{title ?? key}</h3>
        <button
          type="button"
          className="icon-button"
          tabIndex={-1}
          aria-label={`${key} on the full screen`}
          title="full screen (f)"
          onClick={() => onExpand(key)}
        >
          <ExpandIcon />
        </button>
      </header>
      <Guard what={key}>
        <PanelChart {...data} width={width} isInView={isInView} />
      </Guard>
    </article>
  );
});

interface PanelChartProps extends PanelData {
  width: number;
  isInView: boolean;
}

/** The chart of a panel and its query; the query waits until the panel is in view. */
export function PanelChart({ metric, runs, looks, view, change, width, isInView }: PanelChartProps) {
  const x = view.x ?? metric.x ?? "_step";
  const zoom = view.zoom?.axis === x ? view.zoom : null;
  const low = zoom?.low ?? null;
  const high = zoom?.high ?? null;
  const buckets = Math.min(maxBuckets, Math.ceil(Math.max(width - beside, 1) / bucketGrain) * bucketGrain);
  const query = useMemo<LineQuery>(() => {
    const unit = toAxisUnit(x);
    return { x, range: low === null || high === null ? null : [low / unit, high / unit], buckets };
  }, [x, low, high, buckets]);
  const { data, error, isPlaceholderData, refetch } = useLines(runs, metric.key, isInView ? query : null);

  const { statistic, smoothing } = view;
  const curves = useMemo(
    () => (data && data.x === x ? makeCurves(data.lines, looks, { x, statistic, smoothing }) : null),
    [data, looks, x, statistic, smoothing],
  );
  const onZoom = useCallback((range: Extent) => change.zoom({ axis: x, ...range }), [change, x]);
  const onReset = useCallback(() => change.zoom(null), [change]);

  if (runs.length === 0) return <p className="panel-note">No run is shown.</p>;
  if (!curves) {
    if (!error) return <p className="panel-note" aria-busy="true" />;
    return (
      <p className="panel-note" role="alert">
        {error.message}{" "}
        <button type="button" className="text-button" onClick={() => void refetch()}>
          Try again
        </button>
      </p>
    );
  }
  if (curves.length === 0 && !isPlaceholderData) {
    return (
      <p className="panel-note">
        {zoom ? "No values in this range." : "The runs shown have no values here."}
        {zoom && (
          <button type="button" className="text-button" onClick={onReset}>
            Reset the zoom
          </button>
        )}
      </p>
    );
  }
  const extent = extentOfX(curves);
  const label =
    `${metric.key} over ${axisTitle(x)}, ${curves.length} ${curves.length === 1 ? "run" : "runs"}, ` +
    `${place(x, extent.low)} to ${place(x, extent.high)}`;
  return (
    <Chart {...{ curves, x, label, onZoom, onReset }} zoom={zoom} logY={view.logY} withBand={view.withBand} group={x} />
  );
}

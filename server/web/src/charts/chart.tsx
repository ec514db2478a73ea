// One chart: uPlot for axes, scales, cursor and selection; curves painted by `paint`; a tooltip that follows the pointer.

import { useEffect, useLayoutEffect, useRef, useState } from "react";
import uPlot from "uplot";

import { useFocus } from "../state/focus";
import { useTheme } from "../state/theme";
import { axisKind, clockSteps, tick } from "./axis";
import { paint } from "./paint";
import { type Curve, drawable, type Extent, extentOfX, extentOfY, padded } from "./plot";
import { Tooltip, type TooltipPlace } from "./tooltip";
import { duration } from "../ui/format";

export interface ChartProps {
  curves: readonly Curve[];
  x: string;
  label: string;
  logY: boolean;
  withBand: boolean;
  /** The window to show, in axis units; null shows everything. */
  zoom: Extent | null;
  onZoom: (zoom: Extent) => void;
  onReset: () => void;
  /** Charts of one group share the pointer's place on the x axis. */
  group: string;
}

const frame: uPlot.Padding = [6, 16, 0, 0];

export function Chart(props: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const theme = useTheme();
  const focus = useFocus();
  const [pointer, setPointer] = useState<TooltipPlace | null>(null);
  // uPlot calls back long after it was made; it must see the props of today.
  const latest = useRef({ ...props, focus });
  latest.current = { ...props, focus };
  const { curves, x, logY, withBand, zoom, group } = props;

  useLayoutEffect(() => {
    const element = host.current!;
    const colors = readColors(element);
    const kind = axisKind(x);
    const font = `11px ${getComputedStyle(element).fontFamily}`;
    const axis: uPlot.Axis = {
      stroke: colors.text,
      font,
      grid: { stroke: colors.grid, width: 1 },
      ticks: { show: false },
    };
    const shown = (): Extent => latest.current.zoom ?? extentOfX(latest.current.curves);
    const u = new uPlot(
      {
        width: Math.max(element.clientWidth, 60),
        height: Math.max(element.clientHeight, 60),
        padding: frame,
        legend: { show: false },
        scales: {
          x: {
            time: kind === "time",
            range: () => {
              const { low, high } = shown();
              if (!(low <= high)) return [0, 1];
              return drawable(low === high ? { low: low - 0.5, high: high + 0.5 } : { low, high });
            },
          },
          y: {
            distr: logY ? 3 : 1,
            range: () => padded(extentOfY(latest.current.curves, shown(), latest.current.withBand, logY), logY),
          },
        },
        axes: [
          {
            ...axis,
            size: 26,
            gap: 5,
            ...(kind === "time"
              ? {}
              : {
                  space: 64,
                  values: (_u: uPlot, splits: number[]) =>
                    splits.map((value) => (kind === "runtime" ? duration(value) : tick(value))),
                  ...(kind === "runtime" ? { incrs: clockSteps } : {}),
                }),
          },
          {
            ...axis,
            size: (_u, values) => 16 + 6.2 * Math.max(3, ...(values ?? []).map((value) => value?.length ?? 0)),
            gap: 4,
            space: 34,
            values: (_u, splits) => splits.map((value) => (value === null ? "" : tick(value))),
          },
        ],
        // uPlot must have a series; the painter draws what it stands for.
        series: [{}, { show: true, paths: () => null, points: { show: false } }],
        cursor: {
          y: false,
          points: { show: false },
          drag: { x: true, y: false, setScale: false, dist: 4 },
          bind: {
            dblclick: () => () => {
              latest.current.onReset();
              return null;
            },
          },
          sync: {
            key: group,
            setSeries: false,
            scales: ["x", null],
            // Only the pointer's place is shared: a drag zooms once, through the address bar.
            filters: { pub: (type) => type === "mousemove" || type === "mouseleave", sub: () => true },
          },
        },
        hooks: {
          draw: [
            (self) =>
              paint(self, latest.current.curves, {
                withBand: latest.current.withBand,
                logY,
                // In a zoom the last point shown is not the last of the run.
                withEnds: latest.current.zoom === null,
                focus: latest.current.focus,
                ink: colors,
              }),
          ],
          setCursor: [
            (self) => {
              const { left = -1, top = -1, event } = self.cursor;
              // A pointer that is over another chart of the group moves the line here, but opens no tooltip.
              const isHere =
                left >= 0 && event !== undefined && event !== null && self.over.contains(event.target as Node);
              if (!isHere) {
                setPointer(null);
                return;
              }
              const box = self.over.getBoundingClientRect();
              setPointer({
                x: self.posToVal(left, "x"),
                y: self.posToVal(top, "y"),
                perPixelX: (self.scales["x"]!.max! - self.scales["x"]!.min!) / Math.max(box.width, 1),
                toTop: (value) => self.valToPos(value, "y"),
                pointerTop: top,
                clientX: box.left + left,
                clientY: box.top + top,
                layer: element.closest("dialog") ?? document.body,
              });
            },
          ],
          setSelect: [
            (self) => {
              const { left, width } = self.select;
              if (width < 4) return;
              const low = self.posToVal(left, "x");
              const high = self.posToVal(left + width, "x");
              self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              if (high > low) latest.current.onZoom({ low, high });
            },
          ],
        },
      },
      dataFor(latest.current.curves),
      element,
    );
    plot.current = u;
    const observer = new ResizeObserver(() => {
      const width = element.clientWidth;
      const height = element.clientHeight;
      if (width > 0 && height > 0 && (width !== u.width || height !== u.height)) u.setSize({ width, height });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      u.destroy();
      plot.current = null;
      setPointer(null);
    };
  }, [x, logY, theme, group]);

  // New lines or another window: new scales.
  useEffect(() => plot.current?.setData(dataFor(curves), true), [curves, zoom?.low, zoom?.high, withBand]);
  // Only the emphasis changed: the scales hold.
  useEffect(() => plot.current?.redraw(false, false), [focus]);

  return (
    <div className="chart" ref={host} role="img" aria-label={props.label} onMouseLeave={() => setPointer(null)}>
      {pointer && <Tooltip place={pointer} curves={curves} x={x} />}
    </div>
  );
}

// The corners of what is drawn, which is all uPlot has to know of it.
function dataFor(curves: readonly Curve[]): uPlot.AlignedData {
  const { low, high } = extentOfX(curves);
  return low <= high
    ? [
        [low, high === low ? low + 1 : high],
        [0, 1],
      ]
    : [
        [0, 1],
        [0, 1],
      ];
}

// A canvas knows neither var() nor light-dark(); an element's computed colour is a plain one.
function readColors(element: HTMLElement) {
  const probe = document.createElement("span");
  element.append(probe);
  const read = (name: string): string => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const colors = {
    text: read("--chart-text"),
    grid: read("--chart-grid"),
    failure: read("--failure"),
    background: read("--surface"),
  };
  probe.remove();
  return colors;
}

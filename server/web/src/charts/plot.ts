// From lines of the API to what is drawn: positions, heights, smoothing, and the extent of it all.

import type { Line } from "../api/series";
import type { RunState } from "../api/types";
import { toAxisUnit } from "./axis";
import { smooth } from "./smoothing";

export interface Look {
  path: string;
  name: string;
  color: string;
  dash: number[];
  state: RunState | string;
}

export interface Curve extends Look {
  line: Line;
  /** Where each bucket stands, in axis units. */
  x: Float64Array;
  /** Mean or last value of each bucket; NaN where it has none. */
  y: Float64Array;
  smoothed: Float64Array | null;
  /** The first and last x that was logged; the buckets at the ends stand a little inside of them. */
  span: Extent;
  /** Some bucket holds more than one value, so there is a band to draw. */
  hasBand: boolean;
  /** Some value is NaN or infinite. */
  hasMarks: boolean;
}

export interface Style {
  x: string;
  statistic: "mean" | "last";
  smoothing: number;
}

export interface Extent {
  low: number;
  high: number;
}

export function makeCurves(lines: readonly Line[], looks: ReadonlyMap<string, Look>, style: Style): Curve[] {
  const unit = toAxisUnit(style.x);
  const curves: Curve[] = [];
  for (const line of lines) {
    const look = looks.get(line.run);
    if (!look || line.n === 0) continue;
    const x = new Float64Array(line.n);
    let hasBand = false;
    let hasMarks = false;
    for (let i = 0; i < line.n; i += 1) {
      // The mean of a bucket belongs to its middle, the last value to its end.
      const at = style.statistic === "mean" ? (line.x[i]! + line.xLast[i]!) / 2 : line.xLast[i]!;
      x[i] = at * unit;
      if (line.count[i]! > 1) hasBand = true;
      if (line.nan[i]! > 0 || line.posinf[i]! > 0 || line.neginf[i]! > 0) hasMarks = true;
    }
    const span = { low: line.x[0]! * unit, high: line.xLast[line.n - 1]! * unit };
    const y = heights(line, style.statistic);
    curves.push({ ...look, line, x, y, smoothed: null, span, hasBand, hasMarks });
  }
  if (style.smoothing > 0) {
    const { low, high } = extentOfX(curves);
    for (const curve of curves) {
      const weight = style.statistic === "mean" ? curve.line.count : null;
      curve.smoothed = smooth(curve.x, curve.y, weight, high - low, style.smoothing);
    }
  }
  return curves;
}

// A bucket whose last value is not finite still has finite ones; the line then takes their mean rather than tear.
function heights(line: Line, statistic: "mean" | "last"): Float64Array {
  if (statistic === "mean") return line.mean;
  const y = new Float64Array(line.n);
  for (let i = 0; i < line.n; i += 1) y[i] = Number.isFinite(line.last[i]!) ? line.last[i]! : line.mean[i]!;
  return y;
}

export function extentOfX(curves: readonly Curve[]): Extent {
  let low = Infinity;
  let high = -Infinity;
  for (const { span } of curves) {
    low = Math.min(low, span.low);
    high = Math.max(high, span.high);
  }
  return { low, high };
}

/** The lowest and highest thing drawn between two places on the x axis. */
export function extentOfY(curves: readonly Curve[], within: Extent, withBand: boolean, positiveOnly: boolean): Extent {
  let low = Infinity;
  let high = -Infinity;
  for (const { x, y, line } of curves) {
    const [below, above] = withBand ? [line.min, line.max] : [y, y];
    for (let i = 0; i < x.length; i += 1) {
      const at = x[i]!;
      if (at < within.low || at > within.high) continue;
      const bottom = below[i]!;
      const top = above[i]!;
      // NaN fails every comparison and so leaves the extent alone.
      if (bottom < low && (!positiveOnly || bottom > 0)) low = bottom;
      if (top > high) high = top;
      if (positiveOnly && bottom <= 0 && y[i]! > 0 && y[i]! < low) low = y[i]!;
    }
  }
  return { low, high };
}

// Ticks are found by adding steps up. Where a step is lost in the digits of the value, that never ends; and the width of
// a range must itself be a number.
const leastSpan = 1e-9;
const farthest = 8e307;

/** The extent, or the nearest one that an axis can be drawn for. */
export function drawable({ low, high }: Extent): [number, number] {
  const left = Math.max(low, -farthest);
  const right = Math.min(high, farthest);
  const least = Math.max(Math.abs(left), Math.abs(right)) * leastSpan;
  if (right - left >= least && right > left) return [left, right];
  const middle = left / 2 + right / 2;
  const room = Math.max(least, Number.MIN_VALUE * 1e16);
  return [middle - room, middle + room];
}

/** Room around an extent, so that no line lies on the frame. */
export function padded({ low, high }: Extent, isLog: boolean): [number, number] {
  if (!(low <= high)) return isLog ? [0.1, 10] : [0, 1];
  if (isLog) {
    if (high / low < 1 + leastSpan) return [low / 2, high * 2];
    const room = Math.pow(Math.min(high, farthest) / low, 0.04);
    return [Math.max(low / room, Number.MIN_VALUE * 1e16), Math.min(high * room, farthest)];
  }
  if (low === high) {
    const room = low === 0 ? 1 : Math.abs(low) * 0.1;
    return drawable({ low: low - room, high: high + room });
  }
  const room = Math.min((high - low) * 0.04, farthest);
  return drawable({ low: low - room, high: high + room });
}

/** The bucket whose place is nearest to `at`, or -1 where there is none. */
export function nearest(x: Float64Array, at: number): number {
  if (x.length === 0) return -1;
  let low = 0;
  let high = x.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle]! < at) low = middle + 1;
    else high = middle;
  }
  return low > 0 && at - x[low - 1]! < x[low]! - at ? low - 1 : low;
}

// What can stand on the x axis, and how it is written.

import { duration, integer, number } from "../ui/format";

export type AxisKind = "step" | "runtime" | "time" | "metric";

/** The kind of axis an `x` of the API is. */
export function axisKind(x: string): AxisKind {
  if (x === "_step") return "step";
  if (x === "_runtime") return "runtime";
  if (x === "_time") return "time";
  return "metric";
}

export function axisTitle(x: string): string {
  const kind = axisKind(x);
  if (kind === "step") return "step";
  if (kind === "runtime") return "relative time";
  if (kind === "time") return "wall time";
  return x;
}

/** Wall time travels in ns since the epoch; uPlot's calendar reads seconds. */
export function toAxisUnit(x: string): number {
  return axisKind(x) === "time" ? 1e-9 : 1;
}

/** One place on the axis, as the tooltip says it. `value` is in axis units. */
export function place(x: string, value: number): string {
  switch (axisKind(x)) {
    case "step":
      return Number.isInteger(value) ? integer(value) : number(value);
    case "runtime":
      return duration(value);
    case "time":
      return new Date(value * 1000).toLocaleString();
    case "metric":
      return number(value);
  }
}

/** Short labels for ticks, which have little room. */
export function tick(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e15 || size < 1e-4) return value.toExponential(1).replace(/\.0e/, "e").replace("e+", "e");
  if (size >= 1e9) return `${trim(value / 1e9)}G`;
  if (size >= 1e6) return `${trim(value / 1e6)}M`;
  if (size >= 1e4) return `${trim(value / 1e3)}k`;
  return trim(value);
}

function trim(value: number): string {
  return String(Number(value.toPrecision(5)));
}

/** Ticks of a relative time axis, in seconds: steps a clock would take. */
export const clockSteps = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200,
  10800, 21600, 43200, 86400, 172800, 432000, 864000, 1728000, 4320000, 8640000,
];

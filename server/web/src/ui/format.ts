// Numbers, times and logged values as text.

import type { Value } from "../api/types";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function integer(value: number): string {
  return whole.format(value);
}

/** A number in at most `digits` significant digits, without noise at the end. */
export function number(value: number, digits = 5): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return integer(value);
  if (size >= 1e15 || size < 1e-4)
    return value
      .toExponential(digits - 1)
      .replace(/\.?0+e/, "e")
      .replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}

/** A duration in seconds: `850 ms`, `12.3 s`, `4m 05s`, `3h 20m`, `2d 4h`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (seconds === 0) return "0 s";
  if (seconds < 1) return `${number(seconds * 1000, 3)} ms`;
  if (seconds < 60) return `${number(seconds, 3)} s`;
  const total = Math.round(seconds);
  const two = (n: number): string => String(n).padStart(2, "0");
  if (total < 3600) return `${Math.floor(total / 60)}m ${two(total % 60)}s`;
  if (total < 86_400) return `${Math.floor(total / 3600)}h ${two(Math.floor((total % 3600) / 60))}m`;
  return `${Math.floor(total / 86_400)}d ${Math.floor((total % 86_400) / 3600)}h`;
}

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });

/** How long ago a time (ns since the epoch) is: `3 min. ago`. */
export function ago(ns: number, nowMs = Date.now()): string {
  const seconds = ns / 1e9 - nowMs / 1000;
  const size = Math.abs(seconds);
  if (size < 10) return "just now";
  if (size < 60) return relative.format(Math.round(seconds), "second");
  if (size < 3600) return relative.format(Math.round(seconds / 60), "minute");
  if (size < 86_400) return relative.format(Math.round(seconds / 3600), "hour");
  if (size < 30 * 86_400) return relative.format(Math.round(seconds / 86_400), "day");
  return new Date(ns / 1e6).toLocaleDateString();
}

export function moment(ns: number): string {
  return new Date(ns / 1e6).toLocaleString();
}

/** The time of day, with tenths of a second. */
export function clock(ns: number): string {
  const at = new Date(ns / 1e6);
  const two = (part: number): string => String(part).padStart(2, "0");
  const tenths = Math.floor(at.getMilliseconds() / 100);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${tenths}`;
}

/** A size, as people read it. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit > 0 && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

const floats: Record<string, number> = { nan: NaN, inf: Infinity, "-inf": -Infinity };

/** What `{"$float": …}` and `{"$int": …}` stand for; any other value as it is. */
export function unwrap(value: Value): Value | bigint {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const names = Object.keys(value);
  if (names.length !== 1) return value;
  const { $float, $int } = value as { $float?: Value; $int?: Value };
  if (typeof $float === "string" && $float in floats) return floats[$float]!;
  if (typeof $int === "string" && /^-?\d+$/.test($int)) return BigInt($int);
  return value;
}

/** A logged value on one line. */
export function show(value: Value): string {
  const plain = unwrap(value);
  if (plain === null) return "null";
  if (typeof plain === "number") return number(plain, 6);
  if (typeof plain === "bigint") return plain.toLocaleString("en");
  if (typeof plain === "string") return plain;
  if (typeof plain === "boolean") return plain ? "true" : "false";
  return JSON.stringify(readable(plain));
}

/** The value for sorting: numbers as numbers, the rest as text. */
export function comparable(value: Value | undefined): number | string {
  if (value === undefined) return "";
  const plain = unwrap(value);
  if (typeof plain === "number") return plain;
  if (typeof plain === "bigint") return Number(plain);
  return show(value);
}

/** A value as JSON a person can read and paste: NaN is written as text, since JSON has no word for it. */
export function readable(value: Value): unknown {
  const plain = unwrap(value);
  if (typeof plain === "bigint") return plain.toString();
  if (typeof plain === "number") return Number.isFinite(plain) ? plain : number(plain);
  if (Array.isArray(plain)) return plain.map(readable);
  if (plain !== null && typeof plain === "object") {
    return Object.fromEntries(Object.entries(plain).map(([key, inner]) => [key, readable(inner)]));
  }
  return plain;
}

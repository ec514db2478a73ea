// How a project is looked at. All of it is in the address bar, so a link shows the same picture.

import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Run } from "../api/types";
import { useParams } from "./location";

export interface Zoom {
  axis: string;
  low: number;
  high: number;
}

export interface View {
  /** Regular expression over run names, ids and tags. */
  runFilter: string;
  /** Regular expression over metric names. */
  metricFilter: string;
  /** What the reader put on the x axis; null leaves it to each metric. */
  x: string | null;
  smoothing: number;
  logY: boolean;
  statistic: "mean" | "last";
  withBand: boolean;
  zoom: Zoom | null;
  hidden: ReadonlySet<string>;
  /** When set, only these runs are drawn. */
  only: ReadonlySet<string> | null;
  /** The metric shown on the whole screen. */
  full: string | null;
}

// Ids are joined with "~": the server's ids and percent-encoding never hold one.
const separator = "~";
const ids = (text: string | null): string[] => (text ? text.split(separator).map(decodeURIComponent) : []);
const joined = (list: Iterable<string>): string =>
  [...list]
    .map((id) => encodeURIComponent(id).replaceAll("~", "%7E"))
    .sort()
    .join(separator);

function parseZoom(text: string | null): Zoom | null {
  if (!text) return null;
  const parts = text.split(separator);
  if (parts.length !== 3) return null;
  const low = Number(parts[1]);
  const high = Number(parts[2]);
  return Number.isFinite(low) && Number.isFinite(high) && low < high
    ? { axis: decodeURIComponent(parts[0]!), low, high }
    : null;
}

function parseSmoothing(text: string | null): number {
  const value = Number(text ?? 0);
  return Number.isFinite(value) ? Math.min(Math.max(value, 0), 0.99) : 0;
}

export function useView() {
  const [params, set] = useParams();
  const text = params.toString();
  const view = useMemo<View>(
    () => ({
      runFilter: params.get("runs") ?? "",
      metricFilter: params.get("metrics") ?? "",
      x: params.get("x"),
      smoothing: parseSmoothing(params.get("smooth")),
      logY: params.get("logy") === "1",
      statistic: params.get("line") === "last" ? "last" : "mean",
      withBand: params.get("band") !== "0",
      zoom: parseZoom(params.get("zoom")),
      hidden: new Set(ids(params.get("hide"))),
      only: params.has("only") ? new Set(ids(params.get("only"))) : null,
      full: params.get("panel"),
    }),
    // The text is what the parameters are; the object is new on every visit.
    [text],
  );

  const change = useMemo(
    () => ({
      runFilter: (value: string) => set({ runs: value }),
      metricFilter: (value: string) => set({ metrics: value }),
      x: (value: string | null) => set({ x: value, zoom: null }),
      smoothing: (value: number) => set({ smooth: value > 0 ? String(value) : null }),
      logY: (value: boolean) => set({ logy: value ? "1" : null }),
      statistic: (value: "mean" | "last") => set({ line: value === "last" ? "last" : null }),
      withBand: (value: boolean) => set({ band: value ? null : "0" }),
      // A zoom is a step in the browser's history: Back zooms out.
      zoom: (value: Zoom | null) =>
        set(
          {
            zoom:
              value && [encodeURIComponent(value.axis).replaceAll("~", "%7E"), value.low, value.high].join(separator),
          },
          "push",
        ),
      full: (value: string | null) => set({ panel: value }),
      hidden: (value: Iterable<string>) => set({ hide: joined(value), only: null }),
      // An empty list must stay in the address: it means that no run is drawn.
      only: (value: Iterable<string>) => set({ only: joined(value) || separator, hide: null }),
      showAll: () => set({ hide: null, only: null }),
    }),
    [set],
  );
  return { view, change };
}

export type ChangeView = ReturnType<typeof useView>["change"];

export function isVisible(view: View, run: Run): boolean {
  return view.only ? view.only.has(run.id) : !view.hidden.has(run.id);
}

/** Turn one run on or off. */
export function toggleRun(view: View, change: ChangeView, run: Run): void {
  const set = new Set(view.only ?? view.hidden);
  if (set.has(run.id)) set.delete(run.id);
  else set.add(run.id);
  if (view.only) change.only(set);
  else change.hidden(set);
}

/** A pattern as the reader types it: a regular expression, or plain text while it is none yet. */
export function matcher(pattern: string): (text: string) => boolean {
  if (pattern === "") return () => true;
  try {
    const expression = new RegExp(pattern, "i");
    return (text) => expression.test(text);
  } catch {
    const plain = pattern.toLowerCase();
    return (text) => text.toLowerCase().includes(plain);
  }
}

/**
 * A value that answers at once to typing and dragging and reaches the address bar a moment later: browsers refuse
 * more than about a hundred changes of address in half a minute.
 */
export function useDraft<T>(value: T, commit: (value: T) => void, delayMs = 100): [T, (value: T) => void] {
  const [draft, setDraft] = useState(value);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useEffect(() => {
    if (timer.current === null) setDraft(value);
  }, [value]);
  useEffect(
    () => () => {
      if (timer.current !== null) clearTimeout(timer.current);
    },
    [],
  );
  const update = useCallback(
    (next: T) => {
      setDraft(next);
      if (timer.current !== null) clearTimeout(timer.current);
      timer.current = setTimeout(() => {
        timer.current = null;
        commit(next);
      }, delayMs);
    },
    [commit, delayMs],
  );
  return [draft, update];
}

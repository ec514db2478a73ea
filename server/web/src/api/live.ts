// What an event makes stale. Nothing on the page polls: this is the only place that refetches by itself.

import type { QueryClient } from "@tanstack/react-query";
import type { Changes, EventFeed } from "./events";
import type { LineStore } from "./lines";
import { keys, patchRun } from "./queries";

// Lists are dearer to read than lines, so they follow at a slower beat while a run logs.
const listBeatMs = 1000;
// New metrics are noticed in the summaries of the runs that log; this finds those that were kept out of the summary.
const metricsBeatMs = 10_000;
const consoleBeatMs = 300;
const manyRuns = 12; // From here on one list is cheaper than single runs.

/** Keep queries in step with the feed until the returned function is called. */
export function keepLive(feed: EventFeed, client: QueryClient, lines: LineStore): () => void {
  const beats = new Map<string, { last: number; timer: ReturnType<typeof setTimeout> | null }>();

  // At once the first time, then at most once a beat, and always once after the last change.
  const onBeat = (name: string, work: () => void, beatMs = listBeatMs): void => {
    const beat = beats.get(name) ?? { last: 0, timer: null };
    beats.set(name, beat);
    if (beat.timer !== null) return;
    const wait = Math.max(0, beat.last + beatMs - Date.now());
    beat.timer = setTimeout(() => {
      beat.timer = null;
      beat.last = Date.now();
      work();
    }, wait);
  };

  let touched = new Set<string>();

  const stop = feed.onChanges((changes: Changes) => {
    if (changes.everything) {
      lines.markAllStale();
      void client.invalidateQueries();
      return;
    }
    if (changes.projects || changes.runs.size > 0) {
      onBeat("projects", () => void client.invalidateQueries({ queryKey: keys.projects }));
    }
    if (changes.runs.size === 0) return;

    const withRows = new Set<string>();
    let isDefined = false;
    for (const [path, changed] of changes.runs) {
      touched.add(path);
      if (changed.size === 0 || changed.has("rows")) withRows.add(path);
      if (changed.has("metrics")) isDefined = true;
      // The head tells how many lines there are by now; the pages in view are read again when it has changed.
      if (changed.has("console")) {
        const queryKey = [...keys.console(path), "head"];
        onBeat(`console ${path}`, () => void client.invalidateQueries({ queryKey }), consoleBeatMs);
      }
      if (changed.has("files")) void client.invalidateQueries({ queryKey: keys.files(path) });
    }
    if (withRows.size > 0) {
      for (const path of withRows) lines.markStale(path);
      void client.invalidateQueries({
        queryKey: keys.allLines,
        predicate: (query) => (query.queryKey[1] as readonly string[]).some((run) => withRows.has(run)),
      });
    }
    const rereadMetrics = (): void => void client.invalidateQueries({ queryKey: keys.allMetrics });
    if (isDefined) rereadMetrics();
    else onBeat("metrics", rereadMetrics, metricsBeatMs);
    onBeat("runs", () => {
      const paths = touched;
      touched = new Set();
      if (paths.size >= manyRuns) {
        void client.invalidateQueries({ queryKey: keys.allRuns });
        rereadMetrics();
        return;
      }
      for (const path of paths) void patchRun(client, path);
    });
  });

  return () => {
    stop();
    for (const beat of beats.values()) if (beat.timer !== null) clearTimeout(beat.timer);
  };
}

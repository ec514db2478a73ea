// Lines by run, metric and query, asked for in as few requests as make sense.
//
// A panel asks for all its lines at once, and a live run makes only its own lines stale. Without this store each event
// would fetch the lines of every run in every visible panel again.

import { fetchSeries } from "./client";
import { emptyLine, lineBytes, type Line } from "./series";
import type { LineQuery } from "./types";

const waitMs = 8; // Panels that mount in one frame share requests.
const maxLinesPerRequest = 120; // So the first charts are drawn while later ones are still being read.
const maxRequests = 2; // More would share the same cores, and all charts would come late instead of one by one.
const maxBytes = 96 * 1024 * 1024;

interface Wanted {
  run: string;
  key: string;
  query: LineQuery;
  id: string;
  settle: (line: Line) => void;
  fail: (error: unknown) => void;
}

interface Kept {
  line: Line;
  isStale: boolean;
}

const queryId = (query: LineQuery): string => `${query.x}\n${query.range?.join(",") ?? ""}\n${query.buckets}`;

export class LineStore {
  private kept = new Map<string, Kept>();
  private bytes = 0;
  private waiting = new Map<string, { wanted: Wanted; promise: Promise<Line> }>();
  private asked = new Set<string>();
  private overtaken = new Set<string>();
  private queue: { runs: string[]; keys: string[]; query: LineQuery; wanted: Wanted[] }[] = [];
  private timer: ReturnType<typeof setTimeout> | null = null;
  private inFlight = 0;

  constructor(private readonly load: typeof fetchSeries = fetchSeries) {}

  /** The lines of one metric for these runs, in their order. */
  lines(runs: readonly string[], key: string, query: LineQuery): Promise<Line[]> {
    return Promise.all(runs.map((run) => this.line(run, key, query)));
  }

  /** Forget that the lines of this run are up to date; the old ones stay until new ones have come. */
  markStale(run: string): void {
    const prefix = `${run}\n`;
    for (const [id, kept] of this.kept) if (id.startsWith(prefix)) kept.isStale = true;
    // An answer under way may have been read before the change.
    for (const id of this.asked) if (id.startsWith(prefix)) this.overtaken.add(id);
  }

  markAllStale(): void {
    for (const kept of this.kept.values()) kept.isStale = true;
    for (const id of this.asked) this.overtaken.add(id);
  }

  private line(run: string, key: string, query: LineQuery): Promise<Line> | Line {
    const id = `${run}\n${key}\n${queryId(query)}`;
    const kept = this.kept.get(id);
    if (kept && !kept.isStale) {
      // Move to the end: the map's order is the order of last use.
      this.kept.delete(id);
      this.kept.set(id, kept);
      return kept.line;
    }
    const already = this.waiting.get(id);
    if (already) {
      if (!this.overtaken.has(id)) return already.promise;
      return already.promise.then(() => this.line(run, key, query));
    }
    let wanted!: Wanted;
    const promise = new Promise<Line>((settle, fail) => {
      wanted = { run, key, query, id, settle, fail };
    });
    this.waiting.set(id, { wanted, promise });
    this.timer ??= setTimeout(() => this.plan(), waitMs);
    return promise;
  }

  // POST /series answers every run with every key, so lines are put together where the same runs want the same keys.
  private plan(): void {
    this.timer = null;
    const panels = new Map<string, Wanted[]>();
    for (const { wanted } of this.waiting.values()) {
      if (this.asked.has(wanted.id)) continue;
      this.asked.add(wanted.id);
      const panel = `${wanted.key}\n${queryId(wanted.query)}`;
      const list = panels.get(panel);
      if (list) list.push(wanted);
      else panels.set(panel, [wanted]);
    }
    const groups = new Map<string, Wanted[][]>();
    for (const panel of panels.values()) {
      const group = `${queryId(panel[0]!.query)}\n${panel.map((wanted) => wanted.run).join("\n")}`;
      const list = groups.get(group);
      if (list) list.push(panel);
      else groups.set(group, [panel]);
    }
    for (const group of groups.values()) {
      const runs = group[0]!.map((wanted) => wanted.run);
      const step = Math.max(1, Math.floor(maxLinesPerRequest / runs.length));
      for (let start = 0; start < group.length; start += step) {
        const part = group.slice(start, start + step);
        this.queue.push({
          runs,
          keys: part.map((panel) => panel[0]!.key),
          query: part[0]![0]!.query,
          wanted: part.flat(),
        });
      }
    }
    this.pump();
  }

  private pump(): void {
    while (this.inFlight < maxRequests && this.queue.length > 0) {
      const next = this.queue.shift()!;
      this.inFlight += 1;
      this.load(next.runs, next.keys, next.query)
        .then((lines) => {
          const found = new Map(lines.map((line) => [`${line.run}\n${line.key}`, line]));
          for (const wanted of next.wanted) {
            const line = found.get(`${wanted.run}\n${wanted.key}`) ?? emptyLine(wanted.run, wanted.key);
            this.keep(wanted.id, line);
            this.done(wanted.id);
            wanted.settle(line);
          }
        })
        .catch((error: unknown) => {
          for (const wanted of next.wanted) {
            this.done(wanted.id);
            wanted.fail(error);
          }
        })
        .finally(() => {
          this.inFlight -= 1;
          this.pump();
        });
    }
  }

  private done(id: string): void {
    this.waiting.delete(id);
    this.asked.delete(id);
    this.overtaken.delete(id);
  }

  private keep(id: string, line: Line): void {
    const before = this.kept.get(id);
    if (before) {
      this.bytes -= lineBytes(before.line);
      this.kept.delete(id);
    }
    this.kept.set(id, { line, isStale: this.overtaken.has(id) });
    this.bytes += lineBytes(line);
    for (const [oldest, kept] of this.kept) {
      if (this.bytes <= maxBytes) break;
      this.kept.delete(oldest);
      this.bytes -= lineBytes(kept.line);
    }
  }
}

// The page's one event stream: server-sent events in, coalesced changes out.

export interface Changes {
  /** Run path to what changed of it ("rows", "config", "summary", "state", ...). */
  runs: Map<string, Set<string>>;
  /** Some project came, went or changed its counts. */
  projects: boolean;
  /** The stream was lost and is back: anything may have changed meanwhile. */
  everything: boolean;
}

export type Connection = "connecting" | "open" | "lost";

const coalesceMs = 250;
const settleMs = 15; // The events of one answer arrive one by one.

type Listener = (changes: Changes) => void;

export class EventFeed {
  private source: EventSource | null = null;
  private project: string | null | undefined = undefined;
  private pending: Changes = nothing();
  private timer: ReturnType<typeof setTimeout> | null = null;
  private toldAt = 0;
  private wasLost = false;
  private changeListeners = new Set<Listener>();
  private connectionListeners = new Set<() => void>();
  connection: Connection = "connecting";

  constructor() {
    // Nobody looks at a hidden page: what changes is collected, and told when the page is looked at again.
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.hasNews()) this.schedule();
    });
  }

  /** Follow one project (`entity/project`, encoded), or all of them with null. Closes what was followed before. */
  follow(project: string | null): void {
    if (this.project === project && this.source) return;
    this.project = project;
    this.open();
  }

  close(): void {
    this.source?.close();
    this.source = null;
    this.project = undefined;
  }

  onChanges(listener: Listener): () => void {
    this.changeListeners.add(listener);
    return () => this.changeListeners.delete(listener);
  }

  onConnection = (listener: () => void): (() => void) => {
    this.connectionListeners.add(listener);
    return () => this.connectionListeners.delete(listener);
  };

  private open(): void {
    this.source?.close();
    const query = this.project ? `?${new URLSearchParams({ project: this.project })}` : "";
    const source = new EventSource(`/api/v1/events${query}`);
    this.source = source;
    source.addEventListener("open", () => {
      if (this.wasLost) {
        this.pending.everything = true;
        this.schedule();
      }
      this.wasLost = false;
      this.setConnection("open");
    });
    source.addEventListener("error", () => {
      this.wasLost = true;
      this.setConnection("lost");
      // The browser tries again by itself, except after an answer that was no event stream.
      if (source.readyState === EventSource.CLOSED) {
        setTimeout(() => {
          if (this.source === source) this.open();
        }, 3000);
      }
    });
    source.addEventListener("run", (event) => {
      const data = parse(event.data);
      if (typeof data?.path !== "string") return;
      const changed = Array.isArray(data.changed) ? data.changed.map(String) : [];
      const known = this.pending.runs.get(data.path) ?? new Set<string>();
      for (const what of changed) known.add(what);
      this.pending.runs.set(data.path, known);
      this.schedule();
    });
    source.addEventListener("project", () => {
      this.pending.projects = true;
      this.schedule();
    });
  }

  private hasNews(): boolean {
    return this.pending.everything || this.pending.projects || this.pending.runs.size > 0;
  }

  private schedule(): void {
    if (document.hidden) return;
    if (this.timer !== null) return;
    // The first change after a quiet while is told at once, and the next ones together.
    const wait = Math.max(settleMs, this.toldAt + coalesceMs - Date.now());
    this.timer = setTimeout(() => {
      this.timer = null;
      this.toldAt = Date.now();
      const changes = this.pending;
      this.pending = nothing();
      for (const listener of this.changeListeners) listener(changes);
    }, wait);
  }

  private setConnection(connection: Connection): void {
    if (this.connection === connection) return;
    this.connection = connection;
    for (const listener of this.connectionListeners) listener();
  }
}

function nothing(): Changes {
  return { runs: new Map(), projects: false, everything: false };
}

function parse(text: unknown): { path?: unknown; changed?: unknown } | null {
  try {
    return JSON.parse(String(text)) as { path?: unknown; changed?: unknown };
  } catch {
    return null;
  }
}

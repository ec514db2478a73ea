// What a run was: how it ended, when and where it ran, and what its owner wrote about it.

import type { ReactNode } from "react";
import type { RunDetail, Value } from "../api/types";
import { CopyButton } from "../ui/copy";
import { duration, integer, moment, show } from "../ui/format";
import { useNow } from "../ui/hooks";

const titles: Record<string, string> = {
  failed: "The run failed",
  crashed: "The run crashed: its process is gone and left no word",
  killed: "The run was killed",
  preempted: "The run was preempted",
};

/** Says how a run ended, where it did not end well. */
export function ExitBanner({ run }: { run: RunDetail }) {
  const title = titles[run.state];
  if (!title) return null;
  const exit = (run.exit ?? {}) as Record<string, unknown>;
  const text = (name: string): string | null => {
    const value = exit[name];
    return value === undefined || value === null || value === "" ? null : show(value as Value);
  };
  const code = text("exit_code");
  const signal = text("signal");
  const reason = text("reason");
  const traceback = text("traceback");
  return (
    <div className={`banner banner-${run.state}`} role="alert">
      <p className="banner-title">
        {title}
        {code !== null && <span className="banner-fact">exit code {code}</span>}
        {signal !== null && <span className="banner-fact">signal {signal}</span>}
      </p>
      {reason !== null && <p>{reason}</p>}
      {traceback !== null && (
        <div className="code-block">
          <pre tabIndex={0}>{traceback}</pre>
          <CopyButton text={() => traceback} label="copy the traceback" />
        </div>
      )}
    </div>
  );
}

export function Alerts({ alerts }: { alerts: RunDetail["alerts"] }) {
  if (alerts.length === 0) return null;
  return (
    <ul className="alerts" aria-label="alerts">
      {alerts.map((alert, i) => (
        <li key={i} className="alert">
          <strong>{alert.title}</strong> {alert.text}
        </li>
      ))}
    </ul>
  );
}

export function Facts({ run }: { run: RunDetail }) {
  const now = useNow(run.state === "running" ? 1000 : 3_600_000);
  // A run that goes on gets older without an event saying so.
  const seconds =
    run.state === "running" && run.created_ns !== null
      ? Math.max(0, now / 1000 - run.created_ns / 1e9)
      : run.duration_s;
  // What looks after the console, or an edit, writes a stream too, and is no process of the run.
  const processes = run.streams.filter((stream) => stream.pid !== null).length;
  const field = (name: string): string | null => {
    const value = run.fields[name];
    return value === undefined || value === null
      ? null
      : typeof value === "number"
        ? String(value)
        : show(value as Value);
  };
  return (
    <section className="card" aria-label="overview">
      <h2>Overview</h2>
      <dl className="facts">
        <Fact name="Run id">
          <code>{run.id}</code> <CopyButton text={() => run.path} label="copy the run's path" />
        </Fact>
        <Fact name="Duration">{seconds !== null && duration(seconds)}</Fact>
        <Fact name="Started">{run.created_ns !== null && moment(run.created_ns)}</Fact>
        <Fact name="Ended">{run.ended_ns !== null && moment(run.ended_ns)}</Fact>
        <Fact name="Last step">{run.last_step !== null && integer(run.last_step)}</Fact>
        <Fact name="Points">{integer(run.points)}</Fact>
        <Fact name="Host">{run.host}</Fact>
        <Fact name="Group">{run.group}</Fact>
        <Fact name="Job type">{run.job_type}</Fact>
        <Fact name="Processes">{processes > 1 && integer(processes)}</Fact>
        <Fact name="Program">{field("program")}</Fact>
        <Fact name="Process">{field("pid")}</Fact>
        <Fact name="Lost records">{run.lost > 0 && integer(run.lost)}</Fact>
        <Fact name="Tags">
          {run.tags.length > 0 && (
            <span className="tags">
              {run.tags.map((tag) => (
                <span key={tag} className="tag">
                  {tag}
                </span>
              ))}
            </span>
          )}
        </Fact>
        <Fact name="Notes">{run.notes && <span className="notes">{run.notes}</span>}</Fact>
      </dl>
    </section>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  if (children === null || children === undefined || children === false || children === "") return null;
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

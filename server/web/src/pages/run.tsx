// One run: what it was, how it was configured, what came out, and its charts.

import { useMemo, useRef } from "react";
import { RequestError } from "../api/client";
import { useMetrics, useRun } from "../api/queries";
import type { Metric, RunDetail, Value } from "../api/types";
import { useParams } from "../state/location";
import { useTheme } from "../state/theme";
import { useView } from "../state/view";
import { Empty, Guard, Loading, Problem } from "../ui/notice";
import { useShortcuts } from "../ui/shortcuts";
import { StateBadge } from "../ui/state-icon";
import { runColor } from "../charts/color";
import { ConfigTree } from "./config-tree";
import { makeLooks } from "./looks";
import { Files } from "./files";
import { Logs } from "./logs";
import { Alerts, ExitBanner, Facts } from "./overview";
import { Panels } from "./panels";
import { SummaryTable } from "./summary-table";
import { System } from "./system";
import { Toolbar } from "./toolbar";

const tabs = ["overview", "charts", "system", "logs", "files"] as const;
type Tab = (typeof tabs)[number];

export function RunPage({ entity, project, id }: { entity: string; project: string; id: string }) {
  const { data: run, error, refetch } = useRun(entity, project, id);
  const [params, set] = useParams();
  const tab: Tab = tabs.find((name) => name === params.get("tab")) ?? "overview";
  const theme = useTheme();

  if (!run) {
    if (!error) return <Loading what="the run" />;
    if (error instanceof RequestError && error.status === 404) {
      return (
        <Empty title="There is no such run">
          <p>It may be in the trash, or the address may have a letter too many.</p>
        </Empty>
      );
    }
    return <Problem error={error} retry={() => void refetch()} />;
  }
  return (
    <div className="run-page">
      <div className="run-head">
        <h1>
          <span className="dot" style={{ background: runColor(run.id, theme, run.color) }} />
          {run.name || run.id}
        </h1>
        <StateBadge state={run.state} />
        <div className="tabs" role="tablist" aria-label="parts of the run">
          {tabs.map((name) => (
            <button
              key={name}
              type="button"
              role="tab"
              aria-selected={tab === name}
              onClick={() => set({ tab: name === "overview" ? null : name }, "push")}
            >
              {name}
            </button>
          ))}
        </div>
      </div>
      {tab === "charts" ? (
        <RunCharts run={run} />
      ) : tab === "system" ? (
        <System run={run} />
      ) : tab === "logs" ? (
        <Guard what="the logs">
          <Logs run={run} />
        </Guard>
      ) : tab === "files" ? (
        <Guard what="the files">
          <Files run={run} />
        </Guard>
      ) : (
        <div className="overview">
          <Guard what="the exit">
            <ExitBanner run={run} />
            <Alerts alerts={run.alerts} />
          </Guard>
          <div className="overview-grid">
            <Guard what="the overview">
              <Facts run={run} />
            </Guard>
            <Guard what="the config">
              <ConfigTree config={run.config as Record<string, Value>} />
            </Guard>
            <Guard what="the summary">
              <SummaryTable summary={run.summary as Record<string, Value>} />
            </Guard>
            {Object.keys(run.environment).length > 0 && (
              <Guard what="the environment">
                <ConfigTree title="Environment" config={run.environment as Record<string, Value>} />
              </Guard>
            )}
          </div>
        </div>
      )}
    </div>
  );
}

function RunCharts({ run }: { run: RunDetail }) {
  const { view, change } = useView();
  const theme = useTheme();
  const search = useRef<HTMLInputElement>(null);
  const all = useMetrics(run.entity, run.project);
  const runs = useMemo(() => [run.path], [run.path]);
  const looks = useMemo(() => makeLooks([run], theme), [run.path, run.name, run.state, run.color, theme]);
  // The project knows the metrics of all its runs; those this run never logged would be empty panels. What it logged
  // is in its summary, but for what was asked to be left out of there.
  const metrics = useMemo(() => ownMetrics(all.data ?? [], run.summary), [all.data, run.summary]);
  useShortcuts({
    m: () => search.current?.focus(),
    r: () => change.zoom(null),
    l: () => change.logY(!view.logY),
  });
  return (
    <section className="stage" aria-label="charts">
      <Toolbar {...{ view, change, metrics, search }} />
      {all.data ? (
        <Guard what="the charts">
          <Panels scope={`${run.entity}/${run.project}`} {...{ metrics, runs, looks, view, change }} />
        </Guard>
      ) : all.error ? (
        <Problem error={all.error} retry={() => void all.refetch()} />
      ) : (
        <Loading what="metrics" />
      )}
    </section>
  );
}

function ownMetrics(all: readonly Metric[], summary: Record<string, unknown>): Metric[] {
  const own = all.filter((metric) => metric.key in summary);
  return own.length > 0 ? own : [...all];
}

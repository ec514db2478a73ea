// A project: its runs on the left, a chart for each metric on the right.

import { useMemo, useRef } from "react";
import { useMetrics, useRuns } from "../api/queries";
import type { Run } from "../api/types";
import { isVisible, matcher, useView } from "../state/view";
import { useTheme } from "../state/theme";
import { integer } from "../ui/format";
import { Empty, Guard, Loading, Problem } from "../ui/notice";
import { useShortcuts } from "../ui/shortcuts";
import { makeLooks } from "./looks";
import { Panels } from "./panels";
import { Sidebar } from "./sidebar";
import { Toolbar } from "./toolbar";

// More lines than this in one chart are a smear. The newest are drawn, and the page says so.
const maxDrawn = 100;

const loggingCode = (project: string): string => `import tracker

run = tracker.init(project=${JSON.stringify(project)})
run.log({"loss": 0.5})
run.finish()
`;

function matchesRun(filter: string): (run: Run) => boolean {
  const matches = matcher(filter);
  return (run) => matches(run.name) || matches(run.id) || run.tags.some(matches) || matches(run.group ?? "");
}

export function WorkspacePage({ entity, project }: { entity: string; project: string }) {
  const { view, change } = useView();
  const { runs, total, isPending, error, refetch } = useRuns(entity, project);
  const metrics = useMetrics(entity, project);
  const theme = useTheme();
  const runSearch = useRef<HTMLInputElement>(null);
  const metricSearch = useRef<HTMLInputElement>(null);

  const listed = useMemo(() => runs.filter(matchesRun(view.runFilter)), [runs, view.runFilter]);
  const visible = useMemo(() => listed.filter((run) => isVisible(view, run)), [listed, view.hidden, view.only]);
  const drawn = useStableRuns(visible, maxDrawn);
  const looks = useMemo(() => makeLooks(visible.slice(0, maxDrawn), theme), [visible, theme]);

  useShortcuts({
    "/": () => runSearch.current?.focus(),
    m: () => metricSearch.current?.focus(),
    r: () => change.zoom(null),
    l: () => change.logY(!view.logY),
  });

  if (isPending) return error ? <Problem error={error} retry={() => void refetch()} /> : <Loading what="runs" />;
  if (error && runs.length === 0) return <Problem error={error} retry={() => void refetch()} />;
  if (runs.length === 0) {
    return (
      <Empty title={`No runs in ${project} yet`} code={loggingCode(project)}>
        <p>This page shows the first one as soon as it begins.</p>
      </Empty>
    );
  }
  return (
    <div className="workspace">
      <Sidebar {...{ listed, total, view, change, theme }} search={runSearch} />
      <section className="stage" aria-label="charts">
        <Toolbar {...{ view, change }} metrics={metrics.data ?? []} search={metricSearch} />
        {visible.length > maxDrawn && (
          <p className="hint">
            The newest {integer(maxDrawn)} of {integer(visible.length)} visible runs are drawn. Search or hide runs to
            choose others.
          </p>
        )}
        {metrics.data ? (
          <Guard what="the charts">
            <Panels scope={`${entity}/${project}`} metrics={metrics.data} runs={drawn} {...{ looks, view, change }} />
          </Guard>
        ) : metrics.error ? (
          <Problem error={metrics.error} retry={() => void metrics.refetch()} />
        ) : (
          <Loading what="metrics" />
        )}
      </section>
    </div>
  );
}

// The paths of the runs to draw, the same array as long as they are the same: a run's new summary must not look to
// every chart like another set of runs.
function useStableRuns(visible: readonly Run[], limit: number): readonly string[] {
  const last = useRef<readonly string[]>([]);
  return useMemo(() => {
    const next = visible.slice(0, limit).map((run) => run.path);
    const isSame = next.length === last.current.length && next.every((path, i) => path === last.current[i]);
    if (!isSame) last.current = next;
    return last.current;
  }, [visible, limit]);
}

// What the machine did while the run went on: one section for each part of it, over the time of the run.

import { useMemo, useRef } from "react";
import type { Metric, RunDetail } from "../api/types";
import { useTheme } from "../state/theme";
import { useView } from "../state/view";
import { Empty, Guard } from "../ui/notice";
import { useShortcuts } from "../ui/shortcuts";
import { makeLooks } from "./looks";
import { Panels } from "./panels";
import { Toolbar } from "./toolbar";

const prefix = "system/";

export function System({ run }: { run: RunDetail }) {
  const { view, change } = useView();
  const theme = useTheme();
  const search = useRef<HTMLInputElement>(null);
  const runs = useMemo(() => [run.path], [run.path]);
  const looks = useMemo(() => makeLooks([run], theme), [run.path, run.name, run.state, run.color, theme]);
  const names = Object.keys(run.system_metrics).join("\n");
  const metrics = useMemo(() => names.split("\n").filter(Boolean).map(sampled), [names]);
  useShortcuts({
    m: () => search.current?.focus(),
    r: () => change.zoom(null),
    l: () => change.logY(!view.logY),
  });
  if (metrics.length === 0) {
    return (
      <Empty title="No samples of the machine">
        <p>The machine is sampled every two seconds, unless the setting x_disable_stats is on.</p>
      </Empty>
    );
  }
  return (
    <section className="stage" aria-label="system">
      <Toolbar {...{ view, change, metrics, search }} />
      <Guard what="the charts">
        <Panels
          scope={`${run.entity}/${run.project}/system`}
          sectionOf={partOf}
          titleOf={titleOf}
          {...{ metrics, runs, looks, view, change }}
        />
      </Guard>
    </section>
  );
}

function sampled(key: string): Metric {
  return { key, runs: 1, points: 1, numeric: true, last_step: null, x: "_runtime", hidden: false };
}

/** `system/node1/gpu.0.power_watts` is of the part `node1 gpu.0`. */
function partOf(key: string): string {
  const [node, name] = cut(key);
  const [part = "", number = ""] = name.split(".");
  const isDevice = /^\d+$/.test(number) && part !== "cpu";
  return [node, isDevice ? `${part}.${number}` : part].filter(Boolean).join(" ");
}

function titleOf(key: string): string {
  const [, name] = cut(key);
  return name.replaceAll("_", " ");
}

function cut(key: string): [string, string] {
  const rest = key.startsWith(prefix) ? key.slice(prefix.length) : key;
  const slash = rest.lastIndexOf("/");
  return slash < 0 ? ["", rest] : [rest.slice(0, slash), rest.slice(slash + 1)];
}

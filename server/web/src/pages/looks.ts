// How each run is drawn, wherever it is drawn.

import type { Run } from "../api/types";
import { dashesFor, runColor } from "../charts/color";
import type { Look } from "../charts/plot";
import type { Theme } from "../state/theme";

export function makeLooks(runs: readonly Run[], theme: Theme): Map<string, Look> {
  const colors = runs.map((run) => runColor(run.id, theme, run.color));
  // Oldest first: a run that begins later must not change the dashes of those that are there.
  const dashes = dashesFor([...colors].reverse()).reverse();
  return new Map(
    runs.map((run, i) => [
      run.path,
      { path: run.path, name: run.name || run.id, color: colors[i]!, dash: dashes[i]!, state: run.state },
    ]),
  );
}

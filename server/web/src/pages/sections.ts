// Metrics put into sections by what stands before their first slash, and sections cut into rows of panels.

import type { Metric } from "../api/types";
import { matcher } from "../state/view";

export interface Section {
  name: string;
  metrics: Metric[];
}

export type Row =
  { kind: "head"; section: Section; isOpen: boolean } | { kind: "panels"; section: string; metrics: Metric[] };

const collator = new Intl.Collator("en", { numeric: true });
const machineSection = "system";

export function makeSections(
  metrics: readonly Metric[],
  filter: string,
  sectionOf: (key: string) => string = beforeSlash,
): Section[] {
  const matches = matcher(filter);
  const byName = new Map<string, Metric[]>();
  for (const metric of metrics) {
    if (!metric.numeric || metric.hidden || !matches(metric.key)) continue;
    const name = sectionOf(metric.key);
    const list = byName.get(name);
    if (list) list.push(metric);
    else byName.set(name, [metric]);
  }
  const sections = [...byName].map(([name, list]) => ({
    name,
    metrics: list.sort((a, b) => collator.compare(a.key, b.key)),
  }));
  // Metrics without a prefix are the ones people look at first; what the machine did comes last.
  const rank = (name: string): number => (name === "" ? 0 : name === machineSection ? 2 : 1);
  return sections.sort((a, b) => rank(a.name) - rank(b.name) || collator.compare(a.name, b.name));
}

function beforeSlash(key: string): string {
  const slash = key.indexOf("/");
  return slash > 0 ? key.slice(0, slash) : "";
}

export function makeRows(sections: readonly Section[], closed: ReadonlySet<string>, columns: number): Row[] {
  const rows: Row[] = [];
  for (const section of sections) {
    const isOpen = !closed.has(section.name);
    rows.push({ kind: "head", section, isOpen });
    if (!isOpen) continue;
    for (let start = 0; start < section.metrics.length; start += columns) {
      rows.push({ kind: "panels", section: section.name, metrics: section.metrics.slice(start, start + columns) });
    }
  }
  return rows;
}

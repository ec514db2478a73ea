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
// What `watch` records of the insides of a model: hundreds of metrics, for those who look for them.
const insides = /^(dead_units|gradients|grad_(norm|nan|inf)|parameters|param_(norm|nan|inf)|update_ratio)$/;

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
  return sections.sort((a, b) => rank(a.name) - rank(b.name) || collator.compare(a.name, b.name));
}

// Metrics without a prefix are the ones people look at first; the model's insides, and what the machine did, come last.
function rank(section: string): number {
  return section === "" ? 0 : isFolded(section) ? 2 : section === machineSection ? 3 : 1;
}

/** Whether a section is closed until it is opened. */
export function isFolded(section: string): boolean {
  return insides.test(section);
}

/** The order of names in a list: those of the model's insides last. */
export function compareKeys(a: string, b: string): number {
  return Number(isFolded(beforeSlash(a))) - Number(isFolded(beforeSlash(b))) || collator.compare(a, b);
}

function beforeSlash(key: string): string {
  const slash = key.indexOf("/");
  return slash > 0 ? key.slice(0, slash) : "";
}

/** `toggled` has the sections that the reader has closed, or, of those that are closed at first, has opened. */
export function makeRows(sections: readonly Section[], toggled: ReadonlySet<string>, columns: number): Row[] {
  const rows: Row[] = [];
  for (const section of sections) {
    const isOpen = toggled.has(section.name) === isFolded(section.name);
    rows.push({ kind: "head", section, isOpen });
    if (!isOpen) continue;
    for (let start = 0; start < section.metrics.length; start += columns) {
      rows.push({ kind: "panels", section: section.name, metrics: section.metrics.slice(start, start + columns) });
    }
  }
  return rows;
}

// Names for the shapes the server speaks, so that the rest of the page does not spell out paths into the generated file.

import type { components } from "./schema";

type Schemas = components["schemas"];

export type Project = Schemas["Project"];
export type Metric = Schemas["Metric"];
export type Run = Schemas["Run"];
export type RunDetail = Schemas["RunDetail"];

export type ConsoleLine = Schemas["ConsoleLine"];
export type ConsolePage = Schemas["Console"];
export type NamedFile = Schemas["NamedFile"];

export type RunState = Run["state"];

/** A logged value: JSON, with `{"$float": "nan"}` and `{"$int": "…"}` where JSON has no number for it. */
export type Value = null | boolean | number | string | Value[] | { [key: string]: Value };

/** What one chart asks for: everything but the runs and the metrics. */
export interface LineQuery {
  x: string;
  range: [number, number] | null;
  buckets: number;
}

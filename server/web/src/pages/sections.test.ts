import { expect, test } from "vitest";
import type { Metric } from "../api/types";
import { compareKeys, makeRows, makeSections } from "./sections";

const metrics = ["gradients/0.weight", "train/loss", "system/cpu", "loss", "grad_norm/total", "eval/loss"].map(
  (key) => ({ key, numeric: true, hidden: false }) as Metric,
);
const sections = makeSections(metrics, "");
const open = (toggled: string[]): string[] =>
  makeRows(sections, new Set(toggled), 3).flatMap((row) => (row.kind === "panels" ? [row.section] : []));

test("what people look at comes first, the model's insides and the machine last", () => {
  expect(sections.map((section) => section.name)).toEqual(["", "eval", "train", "grad_norm", "gradients", "system"]);
});

test("the model's insides are closed until they are opened, all others open until they are closed", () => {
  expect(open([])).toEqual(["", "eval", "train", "system"]);
  expect(open(["gradients", "train"])).toEqual(["", "eval", "gradients", "system"]);
});

test("in a list their names come last", () => {
  expect(metrics.map((metric) => metric.key).sort(compareKeys)).toEqual([
    "eval/loss",
    "loss",
    "system/cpu",
    "train/loss",
    "grad_norm/total",
    "gradients/0.weight",
  ]);
});

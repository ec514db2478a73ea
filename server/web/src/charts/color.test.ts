import { expect, test } from "vitest";
import { dashesFor, hash, runColor } from "./color";

test("a run keeps its colour whatever else is there", () => {
  expect(hash("a1b2c3")).toBe(hash("a1b2c3"));
  expect(runColor("a1b2c3", "light")).toBe(runColor("a1b2c3", "light"));
});

test("ids that follow each other spread over the palette", () => {
  const colors = Array.from({ length: 400 }, (_, i) => runColor(`run-${i}`, "dark"));
  const counts = new Map<string, number>();
  for (const color of colors) counts.set(color, (counts.get(color) ?? 0) + 1);

  expect(counts.size).toBe(16);
  expect(Math.max(...counts.values())).toBeLessThan(50);
});

test("a colour that is no colour is not used", () => {
  expect(runColor("a", "light", "red; background: url(//evil)")).toBe(runColor("a", "light"));
  expect(runColor("a", "light", "#12ab34")).toBe("#12ab34");
});

test("the second line of a colour is dashed", () => {
  expect(dashesFor(["a", "b", "a"])).toEqual([[], [], [6, 3]]);
});

import { expect, test } from "vitest";
import { smooth } from "./smoothing";

const steps = Float64Array.from({ length: 200 }, (_, i) => i);

// The definition of wandb's page, written down value by value.
function reference(x: Float64Array, y: Float64Array, amount: number): number[] {
  const weight = Math.min(Math.sqrt(amount), 0.999);
  const range = x[x.length - 1]! - x[0]!;
  let last = 0;
  let debias = 0;
  return [...y].map((value, i) => {
    const change = ((x[i]! - x[Math.max(i - 1, 0)]!) / range) * 1000;
    const adjusted = weight ** change;
    last = last * adjusted + value;
    debias = debias * adjusted + 1;
    return last / debias;
  });
}

test("single values are smoothed as wandb smooths them", () => {
  const y = steps.map((step) => Math.sin(step / 9) + (step % 7) / 10);

  const smoothed = smooth(steps, y, null, 199, 0.9);

  const expected = reference(steps, y, 0.9);
  smoothed.forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 12));
});

test("a bucket weighs as much as the values it holds", () => {
  const smoothed = smooth(new Float64Array([0, 0]), new Float64Array([0, 1]), new Float64Array([1, 3]), 1, 0.5);

  expect(smoothed[1]).toBe(0.75);
});

test("a value that is not finite stays, and does not poison the next", () => {
  const smoothed = smooth(new Float64Array([0, 1, 2, 3]), new Float64Array([1, NaN, Infinity, 1]), null, 3, 0.9);

  expect([...smoothed]).toEqual([1, NaN, Infinity, 1]);
});

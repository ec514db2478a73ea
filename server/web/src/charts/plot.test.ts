import { expect, test } from "vitest";
import { drawable, nearest, padded } from "./plot";

test.each([
  [0, 0],
  [1, 1 + 2 ** -52],
  [1e15, 1e15 + 1],
  [-1.7e308, 1.7e308],
  [1e308, 1e308],
  [5e-324, 1e-320],
  [-1e-310, 1e-310],
])("an axis from %d to %d has a width that steps can fill", (low, high) => {
  for (const [left, right] of [drawable({ low, high }), padded({ low, high }, false)]) {
    const step = (right - left) / 8;

    expect(Number.isFinite(right - left)).toBe(true);
    expect(left + step).toBeGreaterThan(left);
    expect(right).toBeGreaterThan(right - step);
  }
});

test("the nearest bucket is found at both ends and between", () => {
  const x = new Float64Array([0, 10, 20]);

  expect([-5, 4, 6, 15, 99].map((at) => nearest(x, at))).toEqual([0, 0, 1, 2, 2]);
  expect(nearest(new Float64Array(0), 1)).toBe(-1);
});

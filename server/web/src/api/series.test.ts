import { expect, test } from "vitest";
import { decodeSeries } from "./series";

const columns = ["x", "x_last", "first", "last", "min", "max", "mean", "count", "nan", "posinf", "neginf"];

function pack(series: object[], values: number[]): ArrayBuffer {
  let header = JSON.stringify({ series });
  while ((new TextEncoder().encode(header).length + 4) % 8 !== 0) header += " ";
  const text = new TextEncoder().encode(header);
  const bytes = new ArrayBuffer(4 + text.length + 8 * values.length);
  new DataView(bytes).setUint32(0, text.length, true);
  new Uint8Array(bytes).set(text, 4);
  new Float64Array(bytes, 4 + text.length).set(values);
  return bytes;
}

test("columns are read at their offsets, and names may hold any letters", () => {
  const run = "local/größe/run%20✓";
  const values = Array.from({ length: 33 }, (_, i) => i);
  values[6 + 12] = NaN;
  const bytes = pack(
    [
      { run, key: "a", n: 1, points: 1, exact: true, offset: 0, columns },
      { run, key: "b", n: 2, points: 9, exact: false, offset: 11, columns },
    ],
    values,
  );

  const [a, b] = decodeSeries(bytes);

  expect(a!.run).toBe(run);
  expect([...a!.mean]).toEqual([6]);
  expect([...b!.x]).toEqual([11, 12]);
  expect([...b!.neginf]).toEqual([31, 32]);
  expect(b!.exact).toBe(false);
  expect(b!.x.buffer).toBe(bytes);
});

test("an answer that is cut short is an error, not a short line", () => {
  const bytes = pack([{ run: "r", key: "a", n: 2, points: 2, exact: true, offset: 0, columns }], [1, 2, 3]);

  expect(() => decodeSeries(bytes)).toThrow();
  expect(() => decodeSeries(new ArrayBuffer(2))).toThrow();
});

import { expect, test } from "vitest";
import { LineStore } from "./lines";
import { emptyLine } from "./series";
import type { LineQuery } from "./types";

const query: LineQuery = { x: "_step", range: null, buckets: 400 };

function recorded() {
  const asked: { runs: string[]; keys: string[] }[] = [];
  const store = new LineStore(async (runs, keys) => {
    asked.push({ runs: [...runs], keys: [...keys] });
    return runs.flatMap((run) => keys.map((key) => emptyLine(run, key)));
  });
  return { asked, store };
}

test("panels that ask together share one request", async () => {
  const { asked, store } = recorded();

  await Promise.all(["loss", "acc"].map((key) => store.lines(["a", "b"], key, query)));

  expect(asked).toEqual([{ runs: ["a", "b"], keys: ["loss", "acc"] }]);
});

test("only the lines of a run that changed are asked for again", async () => {
  const { asked, store } = recorded();
  await store.lines(["a", "b"], "loss", query);

  store.markStale("b");
  const lines = await store.lines(["a", "b"], "loss", query);

  expect(asked.slice(1)).toEqual([{ runs: ["b"], keys: ["loss"] }]);
  expect(lines.map((line) => line.run)).toEqual(["a", "b"]);
});

test("a change during a request is asked for once more", async () => {
  let answer: () => void = () => undefined;
  let requests = 0;
  const store = new LineStore(async (runs, keys) => {
    requests += 1;
    await new Promise<void>((resolve) => (answer = resolve));
    return runs.flatMap((run) => keys.map((key) => emptyLine(run, key)));
  });
  const first = store.lines(["a"], "loss", query);
  await until(() => requests === 1);

  store.markStale("a");
  const second = store.lines(["a"], "loss", query);
  answer();
  await first;
  await until(() => requests === 2);
  answer();
  await second;

  expect(requests).toBe(2);
});

test("a failed request fails its lines and is not kept", async () => {
  let requests = 0;
  const store = new LineStore(async () => {
    requests += 1;
    throw new Error("no");
  });

  await expect(store.lines(["a"], "loss", query)).rejects.toThrow("no");
  await expect(store.lines(["a"], "loss", query)).rejects.toThrow("no");

  expect(requests).toBe(2);
});

async function until(claim: () => boolean): Promise<void> {
  while (!claim()) await new Promise((resolve) => setTimeout(resolve, 1));
}

// What the page reads, as queries: one hook for each thing, and the names they are kept under.

import {
  keepPreviousData,
  type QueryClient,
  useInfiniteQuery,
  useQuery,
  type InfiniteData,
} from "@tanstack/react-query";
import { createContext, useContext, useEffect, useMemo } from "react";
import { encodePath, fetchMetrics, fetchProjects, fetchRun, fetchRuns, RequestError, type RunsPage } from "./client";
import type { LineStore } from "./lines";
import type { Metric, Run, RunDetail, LineQuery } from "./types";

// The first page is what the sidebar and the charts show at once; the rest may take its time.
const firstPage = 100;
const pageSize = 1000;

export const keys = {
  projects: ["projects"] as const,
  allMetrics: ["metrics"] as const,
  metrics: (entity: string, project: string) => ["metrics", entity, project] as const,
  allRuns: ["runs"] as const,
  runs: (entity: string, project: string) => ["runs", entity, project] as const,
  run: (path: string) => ["run", path] as const,
  allLines: ["lines"] as const,
  console: (path: string) => ["console", path] as const,
  files: (path: string) => ["files", path] as const,
};

export const LinesContext = createContext<LineStore | null>(null);

export function useProjects() {
  return useQuery({ queryKey: keys.projects, queryFn: ({ signal }) => fetchProjects(signal) });
}

export function useMetrics(entity: string, project: string) {
  return useQuery({
    queryKey: keys.metrics(entity, project),
    queryFn: ({ signal }) => fetchMetrics(entity, project, signal),
  });
}

/** All runs of a project, newest first. They come page by page; what has come can be used at once. */
export function useRuns(entity: string, project: string) {
  const query = useInfiniteQuery({
    queryKey: keys.runs(entity, project),
    queryFn: ({ pageParam, signal }) =>
      fetchRuns(entity, project, pageParam, pageParam === 0 ? firstPage : pageSize, signal),
    initialPageParam: 0,
    getNextPageParam: (last, pages) => {
      const have = pages.reduce((sum, page) => sum + page.runs.length, 0);
      return last.runs.length > 0 && have < last.total ? have : undefined;
    },
  });
  const { hasNextPage, isFetching, fetchNextPage } = query;
  useEffect(() => {
    if (hasNextPage && !isFetching) void fetchNextPage();
  }, [hasNextPage, isFetching, fetchNextPage]);

  const runs = useMemo(() => {
    // A run that begins while pages are read moves the others by one, so one may come twice.
    const byPath = new Map<string, Run>();
    for (const page of query.data?.pages ?? []) for (const run of page.runs) byPath.set(run.path, run);
    return [...byPath.values()];
  }, [query.data]);
  return {
    runs,
    total: query.data?.pages[0]?.total ?? 0,
    isPending: query.isPending,
    error: query.error,
    refetch: query.refetch,
  };
}

export function useRun(entity: string, project: string, id: string) {
  return useQuery({
    queryKey: keys.run(encodePath(entity, project, id)),
    queryFn: ({ signal }) => fetchRun(entity, project, id, signal),
  });
}

/** The lines of one metric. While another query is answered the lines of the last one are kept. */
export function useLines(runs: readonly string[], key: string, query: LineQuery | null) {
  const store = useContext(LinesContext);
  return useQuery({
    queryKey: [...keys.allLines, runs, key, query],
    // The axis goes with the lines: columns of another axis must not be drawn on this one.
    queryFn: async () => ({ x: query!.x, lines: await store!.lines(runs, key, query!) }),
    enabled: store !== null && query !== null && runs.length > 0,
    placeholderData: keepPreviousData,
    structuralSharing: false, // Columns are compared by identity; a walk through a million numbers is not wanted.
    gcTime: 10_000, // The store keeps the lines; the query only holds the list of them.
  });
}

// Names in summaries that were looked for among the metrics already: what a user set by hand is no metric, and must not
// have the list read again each time.
const lookedFor = new Map<string, Set<string>>();

function noticeMetrics(client: QueryClient, run: RunDetail): void {
  const key = keys.metrics(run.entity, run.project);
  const metrics = client.getQueryData<Metric[]>(key);
  if (!metrics) return;
  const scope = encodePath(run.entity, run.project);
  const known = lookedFor.get(scope) ?? new Set<string>();
  lookedFor.set(scope, known);
  for (const metric of metrics) known.add(metric.key);
  const news = Object.keys(run.summary).filter((name) => !known.has(name));
  if (news.length === 0) return;
  for (const name of news) known.add(name);
  void client.invalidateQueries({ queryKey: key });
}

/** Read one run again and put it where it is shown: in its own query, and in its place in the list. */
export async function patchRun(client: QueryClient, path: string): Promise<void> {
  const [entity = "", project = "", id = ""] = path.split("/").map(decodeURIComponent);
  const listKey = keys.runs(entity, project);
  const list = client.getQueryData<InfiniteData<RunsPage, number>>(listKey);
  const isListed = list?.pages.some((page) => page.runs.some((run) => run.path === path)) ?? false;
  if (list && !isListed) {
    // A run that is new, or in a list that is still on its way: its metrics may be new as well.
    void client.invalidateQueries({ queryKey: listKey });
    void client.invalidateQueries({ queryKey: keys.metrics(entity, project) });
    return;
  }
  if (!list && client.getQueryData(keys.run(path)) === undefined) return;
  let run: RunDetail;
  try {
    run = await fetchRun(entity, project, id);
  } catch (error) {
    // Gone to the trash or never there: the list knows better.
    if (error instanceof RequestError && error.status === 404) void client.invalidateQueries({ queryKey: listKey });
    return;
  }
  noticeMetrics(client, run);
  if (run.trashed) void client.invalidateQueries({ queryKey: listKey });
  client.setQueryData(keys.run(path), (old: RunDetail | undefined) => (old === undefined ? undefined : run));
  client.setQueryData<InfiniteData<RunsPage, number>>(
    listKey,
    (old) =>
      old && {
        ...old,
        pages: old.pages.map((page) =>
          page.runs.some((one) => one.path === path)
            ? { ...page, runs: page.runs.map((one) => (one.path === path ? run : one)) }
            : page,
        ),
      },
  );
}

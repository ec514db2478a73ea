// The requests the page makes. Nothing else in the page calls `fetch`.

import { decodeSeries, type Line } from "./series";
import type { Metric, Project, Run, RunDetail, LineQuery } from "./types";

const root = "/api/v1";

/** A request that did not come back with what was asked for. `status` is 0 where no answer came at all. */
export class RequestError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = "RequestError";
  }
}

async function request(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(root + path, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new RequestError(0, "The server did not answer. Is `tracker ui` still running?");
  }
  if (response.ok) return response;
  if (response.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
  const text = (await response.text().catch(() => "")).slice(0, 2000);
  throw new RequestError(response.status, reason(text) ?? `The server answered ${response.status} to ${path}.`);
}

// FastAPI puts the reason under "detail"; a proxy in between may send anything.
function reason(text: string): string | null {
  try {
    const detail = (JSON.parse(text) as { detail?: unknown }).detail;
    return typeof detail === "string" ? detail : null;
  } catch {
    return null;
  }
}

async function json<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, signal ? { signal } : undefined);
  return (await response.json()) as T;
}

/** `entity/project/id` with each part percent-encoded, as the server spells a run's path. */
export function encodePath(...parts: string[]): string {
  return parts.map(encodeURIComponent).join("/");
}

export async function fetchProjects(signal?: AbortSignal): Promise<Project[]> {
  return (await json<{ projects: Project[] }>("/projects", signal)).projects;
}

export async function fetchMetrics(entity: string, project: string, signal?: AbortSignal): Promise<Metric[]> {
  const path = `/projects/${encodePath(entity, project)}/metrics`;
  return (await json<{ metrics: Metric[] }>(path, signal)).metrics;
}

export interface RunsPage {
  total: number;
  runs: Run[];
}

export function fetchRuns(
  entity: string,
  project: string,
  offset: number,
  limit: number,
  signal?: AbortSignal,
): Promise<RunsPage> {
  const query = new URLSearchParams({
    entity,
    project,
    order: "-created_ns",
    limit: String(limit),
    offset: String(offset),
  });
  return json<RunsPage>(`/runs?${query}`, signal);
}

export function fetchRun(entity: string, project: string, id: string, signal?: AbortSignal): Promise<RunDetail> {
  return json<RunDetail>(`/runs/${encodePath(entity, project, id)}`, signal);
}

export async function fetchSeries(runs: string[], keys: string[], query: LineQuery): Promise<Line[]> {
  const response = await request("/series", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ runs, keys, log_x: false, ...query }),
  });
  return decodeSeries(await response.arrayBuffer());
}

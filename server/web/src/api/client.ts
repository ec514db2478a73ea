// The requests the page makes. Nothing else in the page calls `fetch`.

import { decodeSeries, type Line } from "./series";
import type { ConsolePage, LineQuery, Metric, NamedFile, Project, Run, RunDetail } from "./types";

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

export interface ConsoleQuery {
  offset: number;
  limit: number;
  search: string;
  level: readonly string[];
}

/** A part of what a run printed; `path` is spelt as the server spells it. */
export function fetchConsole(path: string, query: ConsoleQuery, signal?: AbortSignal): Promise<ConsolePage> {
  const parameters = new URLSearchParams({ offset: String(query.offset), limit: String(query.limit) });
  if (query.search) parameters.set("search", query.search);
  for (const level of query.level) parameters.append("level", level);
  return json<ConsolePage>(`/runs/${path}/console?${parameters}`, signal);
}

export async function fetchFiles(path: string, signal?: AbortSignal): Promise<NamedFile[]> {
  return (await json<{ files: NamedFile[] }>(`/runs/${path}/files`, signal)).files;
}

function fileRoute(path: string, name: string): string {
  return `/runs/${path}/files/${name.split("/").map(encodeURIComponent).join("/")}`;
}

/** Where a named file of a run can be saved from. */
export function fileHref(path: string, name: string): string {
  return root + fileRoute(path, name);
}

/** A named file as text; null where it is none. */
export async function fetchFileText(path: string, name: string, signal?: AbortSignal): Promise<string | null> {
  const response = await request(fileRoute(path, name), signal ? { signal } : undefined);
  const data = await response.arrayBuffer();
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(data);
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}

export async function fetchSeries(runs: string[], keys: string[], query: LineQuery): Promise<Line[]> {
  const response = await request("/series", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ runs, keys, log_x: false, ...query }),
  });
  return decodeSeries(await response.arrayBuffer());
}

// The address bar as state. Small enough to own, and run ids may hold characters (a slash, a percent sign) that the
// usual routers decode once too often.

import { useCallback, useMemo, useSyncExternalStore } from "react";

export type Route =
  | { page: "projects" }
  | { page: "workspace"; entity: string; project: string }
  | { page: "run"; entity: string; project: string; id: string }
  | { page: "unknown" };

export function parseRoute(pathname: string): Route {
  const parts: string[] = [];
  for (const part of pathname.split("/")) {
    if (part === "") continue;
    try {
      parts.push(decodeURIComponent(part));
    } catch {
      return { page: "unknown" };
    }
  }
  const [entity, project, word, id] = parts;
  if (entity === undefined) return { page: "projects" };
  if (project === undefined) return { page: "unknown" };
  if (parts.length === 2) return { page: "workspace", entity, project };
  if (parts.length === 4 && word === "runs" && id !== undefined) return { page: "run", entity, project, id };
  return { page: "unknown" };
}

export function workspaceHref(entity: string, project: string): string {
  return `/${encodeURIComponent(entity)}/${encodeURIComponent(project)}`;
}

export function runHref(entity: string, project: string, id: string): string {
  return `${workspaceHref(entity, project)}/runs/${encodeURIComponent(id)}`;
}

const listeners = new Set<() => void>();

function notify(): void {
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  if (listeners.size === 0) window.addEventListener("popstate", notify);
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) window.removeEventListener("popstate", notify);
  };
}

export function navigate(href: string, how: "push" | "replace" = "push"): void {
  if (href === location.pathname + location.search) return;
  if (how === "push") history.pushState(null, "", href);
  else history.replaceState(null, "", href);
  notify();
}

export function useRoute(): Route {
  const pathname = useSyncExternalStore(subscribe, () => location.pathname);
  return useMemo(() => parseRoute(pathname), [pathname]);
}

export type SetParams = (changes: Record<string, string | null>, how?: "push" | "replace") => void;

/** The query string, and a function that changes some of it; null takes a name away. */
export function useParams(): [URLSearchParams, SetParams] {
  const search = useSyncExternalStore(subscribe, () => location.search);
  const params = useMemo(() => new URLSearchParams(search), [search]);
  const set = useCallback<SetParams>((changes, how = "replace") => {
    const next = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === "") next.delete(name);
      else next.set(name, value);
    }
    // Sorted, so that the same view has the same address.
    next.sort();
    const text = next.toString();
    navigate(location.pathname + (text ? `?${text}` : ""), how);
  }, []);
  return [params, set];
}

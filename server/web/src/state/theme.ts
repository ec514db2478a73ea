// Light or dark: what the system says, until the reader chooses.

import { useSyncExternalStore } from "react";

export type Theme = "light" | "dark";
type Choice = Theme | "system";

const storageKey = "tracker.theme";
const media = window.matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

let choice: Choice = read();

function read(): Choice {
  try {
    const value = localStorage.getItem(storageKey);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system"; // Storage may be forbidden; the page works without.
  }
}

function apply(): void {
  if (choice === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = choice;
  for (const listener of listeners) listener();
}

export function currentTheme(): Theme {
  if (choice !== "system") return choice;
  return media.matches ? "dark" : "light";
}

/** Change to the other look. Choosing what the system says anyway goes back to following it. */
export function toggleTheme(): void {
  const next: Theme = currentTheme() === "dark" ? "light" : "dark";
  choice = next === (media.matches ? "dark" : "light") ? "system" : next;
  try {
    if (choice === "system") localStorage.removeItem(storageKey);
    else localStorage.setItem(storageKey, choice);
  } catch {
    // The choice holds until the page is closed.
  }
  apply();
}

export function useTheme(): Theme {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, currentTheme);
}

media.addEventListener("change", apply);
apply();

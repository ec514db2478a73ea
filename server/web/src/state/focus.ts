// The run the pointer is on in the sidebar. Charts draw it above the others; nothing else needs to know, so it lives
// outside React's tree and a hover renders no list.

import { useSyncExternalStore } from "react";

let focused: string | null = null;
const listeners = new Set<() => void>();

export function setFocus(path: string | null): void {
  if (focused === path) return;
  focused = path;
  for (const listener of listeners) listener();
}

export function useFocus(): string | null {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => focused,
  );
}

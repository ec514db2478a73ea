// Keys: one listener for a set of them, and the map that `?` opens.

import { useEffect, useRef } from "react";

export type Shortcuts = Record<string, (event: KeyboardEvent) => void>;

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return target.type !== "range" && target.type !== "checkbox";
  return target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

/** Call the function of a key while the component is there, unless the reader is typing somewhere. */
export function useShortcuts(shortcuts: Shortcuts): void {
  const latest = useRef(shortcuts);
  latest.current = shortcuts;
  useEffect(() => {
    const listen = (event: KeyboardEvent): void => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      const work = latest.current[event.key];
      if (!work) return;
      event.preventDefault();
      work(event);
    };
    window.addEventListener("keydown", listen);
    return () => window.removeEventListener("keydown", listen);
  }, []);
}

const map: readonly (readonly [keys: string, what: string])[] = [
  ["?", "this map"],
  ["t", "light or dark"],
  ["/", "search runs"],
  ["m", "search metrics"],
  ["↑ ↓", "move through the runs"],
  ["space", "show or hide the run"],
  ["o", "show only this run, or all again"],
  ["enter", "open the run"],
  ["f", "full screen for the chart under the pointer or in focus"],
  ["← →", "previous or next chart in full screen"],
  ["r", "reset the zoom"],
  ["l", "logarithmic y axis"],
  ["esc", "leave full screen, empty a search"],
  ["drag", "zoom into a chart; double-click resets"],
];

export function ShortcutMap({ isOpen, onClose }: { isOpen: boolean; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (isOpen) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isOpen]);
  return (
    <dialog ref={dialog} className="dialog" aria-label="keyboard map" onClose={onClose} onClick={onClose}>
      <h2>Keyboard</h2>
      <dl className="shortcut-map">
        {map.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              {keys.split(" ").map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </dialog>
  );
}

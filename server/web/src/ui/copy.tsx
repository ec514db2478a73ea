// A button that copies text and says that it did.

import { useEffect, useState } from "react";
import { CheckIcon, CopyIcon } from "./icons";

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without https the clipboard is closed to the page; the old way still works there.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export function CopyButton({ text, label }: { text: () => string; label: string }) {
  const [isDone, setDone] = useState(false);
  useEffect(() => {
    if (!isDone) return;
    const timer = setTimeout(() => setDone(false), 1500);
    return () => clearTimeout(timer);
  }, [isDone]);
  return (
    <button
      type="button"
      className="icon-button copy-button"
      aria-label={isDone ? "copied" : label}
      title={isDone ? "copied" : label}
      onClick={() => void copy(text()).then(setDone)}
    >
      {isDone ? <CheckIcon /> : <CopyIcon />}
    </button>
  );
}

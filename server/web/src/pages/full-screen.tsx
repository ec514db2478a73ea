// One chart on the whole page, with its neighbours an arrow key away.

import { useEffect, useRef, useState } from "react";
import type { Metric } from "../api/types";
import { CloseIcon } from "../ui/icons";
import { PanelChart, type PanelData } from "./panel";

export function FullScreen({ order, ...data }: PanelData & { order: readonly Metric[] }) {
  const { metric, change } = data;
  const dialog = useRef<HTMLDialogElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = dialog.current!;
    element.showModal();
    element.focus(); // Otherwise the close button would wear the focus ring.
    setWidth(element.clientWidth);
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const go = (by: number): void => {
    const at = order.findIndex((one) => one.key === metric.key);
    const next = order[at + by];
    if (next) change.full(next.key);
  };
  return (
    <dialog
      ref={dialog}
      className="full-screen"
      tabIndex={-1}
      aria-label={`${metric.key}, full screen`}
      onClose={() => change.full(null)}
      onKeyDown={(event) => {
        if (event.key === "ArrowRight") go(1);
        else if (event.key === "ArrowLeft") go(-1);
        else return;
        event.preventDefault();
      }}
    >
      <header>
        <h3>{metric.key}</h3>
        <button
          type="button"
          className="icon-button"
          aria-label="leave full screen"
          title="leave full screen (esc)"
          onClick={() => dialog.current?.close()}
        >
          <CloseIcon />
        </button>
      </header>
      <PanelChart key={metric.key} {...data} width={width} isInView={width > 0} />
    </dialog>
  );
}

// A run's state as a picture that does without its colour: each state has a shape of its own.

import type { ReactNode } from "react";

const shapes: Record<string, ReactNode> = {
  running: (
    <>
      <circle cx="7" cy="7" r="5.2" fill="none" stroke="currentColor" strokeWidth="1.5" strokeDasharray="24.5 8.2" />
      <circle cx="7" cy="7" r="2" fill="currentColor" />
    </>
  ),
  finished: <path d="M3 7.300l2.8 2.800L11 4.4" fill="none" stroke="currentColor" strokeWidth="1.7" />,
  failed: <path d="M3.5 3.500l7 7M10.5 3.500l-7 7" fill="none" stroke="currentColor" strokeWidth="1.8" />,
  crashed: <path d="M8 1.5 3.8 7.600h2.800L5.6 12.500l4.6-6.300H7.300Z" fill="currentColor" />,
  killed: <rect x="3" y="3" width="8" height="8" rx="1" fill="currentColor" />,
  preempted: <path d="M4.5 3.200v7.600M9.5 3.200v7.6" fill="none" stroke="currentColor" strokeWidth="2" />,
};

export function StateIcon({ state }: { state: string }) {
  return (
    <svg
      className={`state-icon state-${state}`}
      width="14"
      height="14"
      viewBox="0 0 14 14"
      role="img"
      aria-label={state}
    >
      <title>{state}</title>
      {shapes[state] ?? <circle cx="7" cy="7" r="2" fill="currentColor" />}
    </svg>
  );
}

export function StateBadge({ state }: { state: string }) {
  return (
    <span className={`badge state-${state}`}>
      <StateIcon state={state} /> {state}
    </span>
  );
}

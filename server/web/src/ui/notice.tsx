// What stands where there is nothing to show: loading, empty, or broken.

import { Component, type ErrorInfo, type ReactNode } from "react";
import { CopyButton } from "./copy";

export function Loading({ what }: { what: string }) {
  return (
    <div className="notice" role="status">
      Reading {what}…
    </div>
  );
}

export function Problem({ error, retry }: { error: unknown; retry?: () => void }) {
  const text = error instanceof Error ? error.message : String(error);
  return (
    <div className="notice notice-problem" role="alert">
      <p>{text}</p>
      {retry && (
        <button type="button" className="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

export function Empty({ title, children, code }: { title: string; children?: ReactNode; code?: string }) {
  return (
    <div className="notice">
      <h2>{title}</h2>
      {children}
      {code && (
        <div className="code-block">
          <pre>
            <code>{code}</code>
          </pre>
          <CopyButton text={() => code} label="copy the code" />
        </div>
      )}
    </div>
  );
}

/** One broken part of the page stays one part: a value nobody thought of must not take the rest with it. */
export class Guard extends Component<{ children: ReactNode; what: string }, { error: unknown }> {
  override state: { error: unknown } = { error: null };

  static getDerivedStateFromError(error: unknown): { error: unknown } {
    return { error };
  }

  override componentDidCatch(error: unknown, info: ErrorInfo): void {
    console.error(`could not show ${this.props.what}`, error, info.componentStack);
  }

  override render(): ReactNode {
    if (this.state.error === null) return this.props.children;
    return <Problem error={this.state.error} retry={() => this.setState({ error: null })} />;
  }
}

// The config of a run as a tree: searchable, foldable, and copied as JSON.

import { useMemo, useState } from "react";
import type { Value } from "../api/types";
import { matcher } from "../state/view";
import { CopyButton } from "../ui/copy";
import { integer, readable, show, unwrap } from "../ui/format";
import { ChevronIcon } from "../ui/icons";
import { Search } from "../ui/search";

const firstRows = 500;

interface Branch {
  path: string;
  name: string;
  depth: number;
  value: Value;
  /** How many entries lie inside; null for a leaf. */
  inside: number | null;
}

interface ConfigTreeProps {
  config: Record<string, Value>;
  /** What it is: "Config", or another tree of the same kind. */
  title?: string;
}

export function ConfigTree({ config, title = "Config" }: ConfigTreeProps) {
  const what = title.toLowerCase();
  const [search, setSearch] = useState("");
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const [limit, setLimit] = useState(firstRows);
  const rows = useMemo(() => flatten(config, closed, search), [config, closed, search]);
  const toggle = (path: string): void => {
    const next = new Set(closed);
    if (!next.delete(path)) next.add(path);
    setClosed(next);
  };
  return (
    <section className="card" aria-label={what}>
      <div className="card-head">
        <h2>{title}</h2>
        <CopyButton text={() => JSON.stringify(readable(config), null, 2)} label={`copy the ${what} as JSON`} />
        <span className="spacer" />
        <Search value={search} onChange={setSearch} label={`Search ${what}`} />
      </div>
      {rows.length === 0 && (
        <p className="hint">{Object.keys(config).length === 0 ? `This run has no ${what}.` : "Nothing matches."}</p>
      )}
      <ul className="tree">
        {rows.slice(0, limit).map((row) => (
          <li key={row.path} style={{ paddingInlineStart: row.depth * 16 }}>
            {row.inside === null ? (
              <>
                <span className="tree-key">{row.name}</span>
                <span className={`tree-value is-${kindOf(row.value)}`}>{show(row.value)}</span>
                <CopyButton text={() => copied(row.value)} label={`copy the value of ${row.name}`} />
              </>
            ) : (
              <button
                type="button"
                className="tree-branch"
                aria-expanded={!closed.has(row.path)}
                onClick={() => toggle(row.path)}
              >
                <ChevronIcon isOpen={!closed.has(row.path)} />
                <span className="tree-key">{row.name}</span>
                <span className="count">{integer(row.inside)}</span>
              </button>
            )}
          </li>
        ))}
      </ul>
      {rows.length > limit && (
        <button type="button" className="text-button" onClick={() => setLimit(limit * 4)}>
          {integer(rows.length - limit)} more
        </button>
      )}
    </section>
  );
}

// The rows that are shown, top to bottom. A branch stays where something inside it matches, and a search opens all.
function flatten(config: Record<string, Value>, closed: ReadonlySet<string>, search: string): Branch[] {
  const matches = matcher(search);
  const walk = (value: Record<string, Value> | Value[], before: string, depth: number, all: boolean): Branch[] => {
    const rows: Branch[] = [];
    for (const [name, inner] of Object.entries(value)) {
      const path = before === "" ? name : `${before}.${name}`;
      const plain = unwrap(inner);
      const isMatch = all || search === "" || matches(path);
      if (plain !== null && typeof plain === "object" && Object.keys(plain).length > 0 && !isFlat(plain)) {
        const isOpen = search !== "" || !closed.has(path);
        const within = isOpen ? walk(plain, path, depth + 1, isMatch) : [];
        if (search !== "" && within.length === 0 && !isMatch) continue;
        rows.push({ path, name, depth, value: inner, inside: Object.keys(plain).length }, ...within);
      } else if (isMatch || matches(show(inner))) {
        rows.push({ path, name, depth, value: inner, inside: null });
      }
    }
    return rows;
  };
  return walk(config, "", 0, false);
}

// A list of plain values reads best on one line.
function isFlat(value: Value[] | { [key: string]: Value }): boolean {
  return Array.isArray(value) && value.every((one) => one === null || typeof unwrap(one) !== "object");
}

function kindOf(value: Value): string {
  const plain = unwrap(value);
  return plain === null ? "null" : typeof plain;
}

function copied(value: Value): string {
  const plain = readable(value);
  return typeof plain === "string" ? plain : JSON.stringify(plain);
}

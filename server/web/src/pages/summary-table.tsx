// The summary of a run as a table that sorts and searches; ten thousand rows are as good as ten.

import {
  type ColumnDef,
  createSortedRowModel,
  rowSortingFeature,
  tableFeatures,
  useTable,
} from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useMemo, useRef, useState } from "react";
import type { Value } from "../api/types";
import { matcher } from "../state/view";
import { comparable, show } from "../ui/format";
import { Search } from "../ui/search";
import { compareKeys } from "./sections";

const rowHeight = 26;
const features = tableFeatures({
  rowSortingFeature,
  sortedRowModel: createSortedRowModel(),
});

interface Entry {
  key: string;
  value: Value;
}

const collator = new Intl.Collator("en", { numeric: true });

// Numbers before words, and NaN after every number, so that sorting is the same each time.
function compare(a: Value, b: Value): number {
  const left = comparable(a);
  const right = comparable(b);
  if (typeof left === "number" && typeof right === "number") {
    if (Number.isNaN(left) || Number.isNaN(right)) return Number(Number.isNaN(left)) - Number(Number.isNaN(right));
    return left - right;
  }
  if (typeof left === "number") return -1;
  if (typeof right === "number") return 1;
  return collator.compare(left, right);
}

const columns: ColumnDef<typeof features, Entry>[] = [
  {
    accessorKey: "key",
    header: "Name",
    sortFn: (a, b) => compareKeys(a.original.key, b.original.key),
  },
  {
    accessorKey: "value",
    header: "Value",
    sortDescFirst: false,
    sortFn: (a, b) => compare(a.original.value, b.original.value),
  },
];

export function SummaryTable({ summary }: { summary: Record<string, Value> }) {
  const [search, setSearch] = useState("");
  const data = useMemo(() => entries(summary, search), [summary, search]);
  const table = useTable({ features, columns, data, initialState: { sorting: [{ id: "key", desc: false }] } });
  const rows = table.getRowModel().rows;
  const body = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => body.current,
    estimateSize: () => rowHeight,
    overscan: 10,
  });
  return (
    <section className="card" aria-label="summary">
      <div className="card-head">
        <h2>Summary</h2>
        <span className="spacer" />
        <Search value={search} onChange={setSearch} label="Search summary" />
      </div>
      <div role="table" aria-label="summary" aria-rowcount={rows.length}>
        <div role="row" className="grid-row grid-head">
          {table.getHeaderGroups()[0]!.headers.map((header) => {
            const sorted = header.column.getIsSorted();
            return (
              <div
                key={header.id}
                role="columnheader"
                aria-sort={sorted === "asc" ? "ascending" : sorted === "desc" ? "descending" : "none"}
              >
                <button type="button" className="text-button" onClick={header.column.getToggleSortingHandler()}>
                  {String(header.column.columnDef.header)}
                  {sorted === "asc" ? " ↑" : sorted === "desc" ? " ↓" : ""}
                </button>
              </div>
            );
          })}
        </div>
        <div className="grid-body" ref={body} tabIndex={0}>
          <div style={{ height: virtual.getTotalSize(), position: "relative" }}>
            {virtual.getVirtualItems().map((item) => {
              const { key, value } = rows[item.index]!.original;
              const text = show(value);
              return (
                <div key={key} role="row" className="grid-row" style={{ transform: `translateY(${item.start}px)` }}>
                  <div role="cell" title={key}>
                    {key}
                  </div>
                  <div role="cell" className="is-number" title={text}>
                    {text}
                  </div>
                </div>
              );
            })}
          </div>
        </div>
      </div>
      {rows.length === 0 && <p className="hint">{search === "" ? "Nothing logged yet." : "Nothing matches."}</p>}
    </section>
  );
}

function entries(summary: Record<string, Value>, search: string): Entry[] {
  const matches = matcher(search);
  return Object.entries(summary)
    .filter(([key]) => matches(key))
    .map(([key, value]) => ({ key, value }));
}

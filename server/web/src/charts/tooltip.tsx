// What the pointer is on: the runs nearest to it, their values, and whether these are exact.

import { createPortal } from "react-dom";
import { integer, number } from "../ui/format";
import { place, toAxisUnit } from "./axis";
import { type Curve, nearest } from "./plot";

export interface TooltipPlace {
  /** Where the pointer is, in axis units. */
  x: number;
  y: number;
  perPixelX: number;
  /** Height of a value inside the plotting area, in CSS pixels. */
  toTop: (value: number) => number;
  pointerTop: number;
  clientX: number;
  clientY: number;
  /** What the tooltip is put into: the page, or the dialog that lies over it. */
  layer: Element;
}

const maxRows = 10;
const reachPixels = 28; // A bucket farther from the pointer than this says nothing about the place.
const width = 440;

interface Hit {
  curve: Curve;
  index: number;
  shown: number;
  distance: number;
}

function hits(curves: readonly Curve[], at: TooltipPlace): Hit[] {
  const found: Hit[] = [];
  for (const curve of curves) {
    const index = nearest(curve.x, at.x);
    if (index < 0) continue;
    if (Math.abs(curve.x[index]! - at.x) / at.perPixelX > reachPixels) continue;
    const shown = (curve.smoothed ?? curve.y)[index]!;
    const distance = Math.abs(at.toTop(shown) - at.pointerTop);
    found.push({ curve, index, shown, distance: Number.isNaN(distance) ? Infinity : distance });
  }
  return found.sort((a, b) => a.distance - b.distance);
}

export function Tooltip({ place: at, curves, x }: { place: TooltipPlace; curves: readonly Curve[]; x: string }) {
  const all = hits(curves, at);
  if (all.length === 0) return null;
  const closest = all[0]!;
  // The nearest are chosen, then shown from top to bottom as they stand in the chart.
  const rows = all.slice(0, maxRows).sort((a, b) => rank(b.shown) - rank(a.shown));
  const onRight = at.clientX + width + 24 > window.innerWidth;
  const estimated = 46 + rows.length * 19;
  const top = Math.max(8, Math.min(at.clientY + 14, window.innerHeight - estimated - 8));
  return createPortal(
    <div
      className="tooltip"
      role="presentation"
      style={{
        maxWidth: width,
        top,
        ...(onRight ? { right: window.innerWidth - at.clientX + 14 } : { left: at.clientX + 14 }),
      }}
    >
      <div className="tooltip-head">{where(closest, x)}</div>
      <table>
        <tbody>
          {rows.map((hit) => (
            <Row key={hit.curve.path} hit={hit} isClosest={hit === closest} />
          ))}
        </tbody>
      </table>
      {all.length > rows.length && <div className="tooltip-more">and {integer(all.length - rows.length)} more</div>}
    </div>,
    at.layer,
  );
}

function Row({ hit, isClosest }: { hit: Hit; isClosest: boolean }) {
  const { curve, index } = hit;
  const { line } = curve;
  const points = line.count[index]! + line.nan[index]! + line.posinf[index]! + line.neginf[index]!;
  return (
    <tr className={isClosest ? "is-closest" : ""}>
      <td>
        <span className="dot" style={{ background: curve.color }} />
      </td>
      <td className="tooltip-name">{curve.name}</td>
      <td className="tooltip-value">{value(hit)}</td>
      {curve.smoothed && <td className="tooltip-note">{number(curve.y[index]!, 4)}</td>}
      <td className="tooltip-note">
        {points > 1 && `${number(line.min[index]!, 3)} … ${number(line.max[index]!, 3)}`}
      </td>
      <td className="tooltip-note">{points > 1 ? `${integer(points)} points` : "exact"}</td>
    </tr>
  );
}

function value({ curve, index, shown }: Hit): string {
  const { line } = curve;
  if (Number.isFinite(shown)) return number(shown);
  // A bucket without a finite value says which kinds it holds.
  const kinds = [];
  if (line.nan[index]! > 0) kinds.push("NaN");
  if (line.posinf[index]! > 0) kinds.push("∞");
  if (line.neginf[index]! > 0) kinds.push("−∞");
  return kinds.join(", ") || "none";
}

function where({ curve, index }: Hit, x: string): string {
  const unit = toAxisUnit(x);
  const first = place(x, curve.line.x[index]! * unit);
  const last = place(x, curve.line.xLast[index]! * unit);
  const name = x.startsWith("_") ? (x === "_step" ? "step " : "") : `${x} `;
  return first === last ? name + first : `${name}${first} – ${last}`;
}

function rank(value: number): number {
  return Number.isNaN(value) ? -Infinity : value;
}

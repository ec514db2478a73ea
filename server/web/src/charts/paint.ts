// Drawing curves on the canvas that uPlot keeps: bands, lines, marks for values that are not finite, and ends of runs.
//
// uPlot wants one x column for all series. A hundred runs with a hundred x columns of their own would have to be joined
// into a table that is mostly holes, so uPlot does axes, scales and cursor here, and the curves are drawn from their columns.

import type uPlot from "uplot";
import type { Line } from "../api/series";
import type { Curve } from "./plot";

export interface Ink {
  failure: string;
  background: string;
}

export interface PaintOptions {
  withBand: boolean;
  withEnds: boolean;
  logY: boolean;
  focus: string | null;
  ink: Ink;
}

const faint = 0.22;
const spikeFactor = 4;
const markSize = 5;

export function paint(u: uPlot, curves: readonly Curve[], options: PaintOptions): void {
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio || 1;
  const toX = projector(u.scales["x"]!, bbox.left, bbox.width, false);
  const toY = projector(u.scales["y"]!, bbox.top + bbox.height, -bbox.height, options.logY);
  const isFocused = (curve: Curve): boolean => options.focus === null || curve.path === options.focus;
  // The focused curve last, so it lies on top.
  const order =
    options.focus === null ? curves : [...curves].sort((a, b) => Number(isFocused(a)) - Number(isFocused(b)));

  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.lineJoin = "round";

  if (options.withBand) {
    for (const curve of order) {
      if (!curve.hasBand) continue;
      const strength = isFocused(curve) ? 1 : 0.15;
      const crowd = curve.path === options.focus ? 1 : curves.length;
      band(ctx, curve, toX, toY, {
        fill: strength * Math.max(0.012, Math.min(0.24, 0.8 / crowd)),
        spike: 0.85 * strength,
        ratio,
      });
    }
  }
  for (const curve of order) {
    const strength = isFocused(curve) ? 1 : 0.18;
    ctx.strokeStyle = curve.color;
    ctx.setLineDash(curve.dash.map((length) => length * ratio));
    if (curve.smoothed) {
      ctx.globalAlpha = faint * strength;
      ctx.lineWidth = ratio;
      stroke(ctx, curve.x, curve.y, toX, toY, bbox);
    }
    ctx.globalAlpha = strength;
    ctx.lineWidth = (curve.path === options.focus ? 2.4 : 1.4) * ratio;
    stroke(ctx, curve.x, curve.smoothed ?? curve.y, toX, toY, bbox);
    ctx.setLineDash([]);
    if (options.withEnds) ends(ctx, curve, toX, toY, ratio, options.ink);
  }
  ctx.restore();

  // Marks may reach over the frame: they stand on it.
  ctx.save();
  for (const curve of order) {
    if (!curve.hasMarks) continue;
    ctx.globalAlpha = isFocused(curve) ? 1 : 0.18;
    marks(ctx, curve, toX, bbox, ratio);
  }
  ctx.restore();
}

// Value to canvas pixel. uPlot's own valToPos looks the scale up at every call, which shows at 100,000 points.
function projector(scale: uPlot.Scale, start: number, length: number, isLog: boolean): (value: number) => number {
  const min = scale.min ?? 0;
  const max = scale.max ?? 1;
  if (isLog) {
    const low = Math.log10(min);
    const factor = length / (Math.log10(max) - low || 1);
    return (value) => (value > 0 ? start + (Math.log10(value) - low) * factor : NaN);
  }
  const factor = length / (max - min || 1);
  return (value) => start + (value - min) * factor;
}

type Project = (value: number) => number;

function stroke(
  ctx: CanvasRenderingContext2D,
  x: Float64Array,
  y: Float64Array,
  toX: Project,
  toY: Project,
  bbox: uPlot.BBox,
): void {
  ctx.beginPath();
  // A value between two gaps has no line to either side; a dot keeps it visible.
  const dots = new Path2D();
  let isDown = false;
  let lone = -1;
  const end = (): void => {
    isDown = false;
    if (lone < 0) return;
    const px = toX(x[lone]!);
    const py = toY(y[lone]!);
    dots.moveTo(px, py);
    dots.arc(px, py, 1.6 * ctx.lineWidth, 0, 2 * Math.PI);
    lone = -1;
  };
  for (let i = 0; i < x.length; i += 1) {
    const py = toY(y[i]!);
    if (!Number.isFinite(py)) {
      end();
      continue;
    }
    const px = toX(x[i]!);
    if (isDown) {
      ctx.lineTo(px, py);
      lone = -1;
    } else {
      ctx.moveTo(px, py);
      isDown = true;
      lone = i;
    }
    // One point past the right edge, so that the line leaves the frame.
    if (px > bbox.left + bbox.width) break;
  }
  end();
  ctx.stroke();
  ctx.fillStyle = ctx.strokeStyle;
  ctx.fill(dots);
}

// The area between the lowest and highest value of each bucket, paler the more curves lie over each other. A spike of
// one value in a thousand would be a hair of that pale area, so buckets far taller than the rest are drawn as strokes.
function band(ctx: CanvasRenderingContext2D, curve: Curve, toX: Project, toY: Project, look: BandLook): void {
  const { line, x } = curve;
  const area = new Path2D();
  const spikes = new Path2D();
  const finite = (i: number): boolean => Number.isFinite(toY(line.max[i]!)) && Number.isFinite(line.min[i]!);
  // On a log axis the lower edge may be at or below zero, which is below everything that is shown.
  const low = (i: number): number => {
    const py = toY(line.min[i]!);
    return Number.isFinite(py) ? py : toY(curve.y[i]!);
  };
  let start = 0;
  while (start < line.n) {
    if (!finite(start)) {
      start += 1;
      continue;
    }
    let end = start;
    while (end + 1 < line.n && finite(end + 1)) end += 1;
    area.moveTo(toX(x[start]!), toY(line.max[start]!));
    for (let i = start + 1; i <= end; i += 1) area.lineTo(toX(x[i]!), toY(line.max[i]!));
    for (let i = end; i >= start; i -= 1) area.lineTo(toX(x[i]!), low(i));
    area.closePath();
    start = end + 1;
  }
  const tall = spikeFactor * usualHeight(line);
  for (let i = 0; i < line.n; i += 1) {
    if (!(line.max[i]! - line.min[i]! > tall) || !finite(i)) continue;
    spikes.moveTo(toX(x[i]!), low(i));
    spikes.lineTo(toX(x[i]!), toY(line.max[i]!));
  }
  ctx.fillStyle = curve.color;
  ctx.globalAlpha = look.fill;
  ctx.fill(area);
  ctx.strokeStyle = curve.color;
  ctx.lineWidth = look.ratio;
  ctx.globalAlpha = look.spike;
  ctx.stroke(spikes);
}

interface BandLook {
  fill: number;
  spike: number;
  ratio: number;
}

// How tall buckets usually are: the median, over those that hold more than one value.
function usualHeight(line: Line): number {
  const heights: number[] = [];
  for (let i = 0; i < line.n; i += 1) {
    const height = line.max[i]! - line.min[i]!;
    if (line.count[i]! > 1 && Number.isFinite(height)) heights.push(height);
  }
  heights.sort((a, b) => a - b);
  return heights[heights.length >> 1] ?? Infinity;
}

// Where a run ended badly its line has a red cap; where it goes on, an open ring.
function ends(ctx: CanvasRenderingContext2D, curve: Curve, toX: Project, toY: Project, ratio: number, ink: Ink): void {
  const y = curve.smoothed ?? curve.y;
  let last = y.length - 1;
  while (last >= 0 && !Number.isFinite(y[last]!)) last -= 1;
  if (last < 0) return;
  const px = toX(curve.x[last]!);
  const py = toY(y[last]!);
  if (!Number.isFinite(py)) return;
  if (curve.state === "running") {
    ctx.beginPath();
    ctx.arc(px, py, 2.6 * ratio, 0, 2 * Math.PI);
    ctx.fillStyle = ink.background;
    ctx.lineWidth = 1.4 * ratio;
    ctx.fill();
    ctx.stroke();
  } else if (curve.state === "failed" || curve.state === "crashed" || curve.state === "killed") {
    ctx.fillStyle = ink.failure;
    ctx.fillRect(px - ratio, py - 4 * ratio, 2 * ratio, 8 * ratio);
  }
}

// NaN: a triangle on the lower axis. Infinities: triangles that point out of the frame, upwards or downwards.
function marks(ctx: CanvasRenderingContext2D, curve: Curve, toX: Project, bbox: uPlot.BBox, ratio: number): void {
  const { line, x } = curve;
  const size = markSize * ratio;
  const bottom = bbox.top + bbox.height;
  ctx.fillStyle = curve.color;
  const triangle = (px: number, base: number, tip: number): void => {
    ctx.beginPath();
    ctx.moveTo(px - size, base);
    ctx.lineTo(px + size, base);
    ctx.lineTo(px, tip);
    ctx.closePath();
    ctx.fill();
  };
  for (let i = 0; i < line.n; i += 1) {
    if (!(line.nan[i]! > 0 || line.posinf[i]! > 0 || line.neginf[i]! > 0)) continue;
    const px = toX(x[i]!);
    if (px < bbox.left - 1 || px > bbox.left + bbox.width + 1) continue;
    if (line.nan[i]! > 0) triangle(px, bottom, bottom - 1.6 * size);
    if (line.posinf[i]! > 0) triangle(px, bbox.top + 1.6 * size, bbox.top);
    if (line.neginf[i]! > 0) triangle(px, bottom - 1.6 * size, bottom);
  }
}

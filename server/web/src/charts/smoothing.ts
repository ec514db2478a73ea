// Time-weighted exponential moving average, with the definition and the 0-0.99 scale that wandb documents, so that the
// curves match. A bucket counts as often as it holds values: smoothing buckets stays close to smoothing every value.
//
// Source: https://docs.wandb.ai/models/app/features/panels/line-plot/smoothing (time weighted EMA)

// The x range of a chart is taken to be this many units wide, whatever its own unit is.
const viewportScale = 1000;

/**
 * Smooth `y` over `x`; both have one entry per bucket, `weight` says how many values lie behind it.
 *
 * Values that are not finite are passed over and stay as they are: one NaN does not poison what follows.
 */
export function smooth(
  x: Float64Array,
  y: Float64Array,
  weight: Float64Array | null,
  rangeOfX: number,
  amount: number,
): Float64Array {
  const out = new Float64Array(y.length);
  const base = Math.min(Math.sqrt(Math.max(amount, 0)), 0.999);
  const scale = rangeOfX > 0 ? viewportScale / rangeOfX : 0;
  let sum = 0;
  let total = 0;
  let before = NaN;
  for (let i = 0; i < y.length; i += 1) {
    const value = y[i]!;
    if (!Number.isFinite(value)) {
      out[i] = value;
      continue;
    }
    const distance = Number.isNaN(before) ? 0 : (x[i]! - before) * scale;
    const decay = Math.pow(base, Math.max(distance, 0));
    const count = Math.max(weight?.[i] ?? 1, 1);
    sum = sum * decay + value * count;
    total = total * decay + count;
    out[i] = sum / total;
    before = x[i]!;
  }
  return out;
}

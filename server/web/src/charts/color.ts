// A colour for each run that depends on nothing but its id, so that it is the same on every screen and every day.
//
// The hues follow Okabe & Ito and Paul Tol's sets for colour-blind readers, with a lighter twin of each for the dark
// page. Where two visible runs meet in one colour the line's dashes tell them apart.

import type { Theme } from "../state/theme";

const palette: readonly (readonly [light: string, dark: string])[] = [
  ["#0072b2", "#56a9e8"],
  ["#d55e00", "#ff8a4c"],
  ["#009e73", "#35c79b"],
  ["#b3478f", "#e58fc6"],
  ["#a07800", "#e0b53a"],
  ["#332288", "#9d8df1"],
  ["#cc3311", "#ff7a66"],
  ["#117733", "#6cc36f"],
  ["#0b7a8a", "#4fc7d6"],
  ["#882255", "#d9729f"],
  ["#5d6b00", "#b8c24a"],
  ["#7a4b2a", "#cfa07a"],
  ["#4a6fa5", "#92b4e6"],
  ["#6a3d9a", "#c39be8"],
  ["#3f7f3f", "#98c998"],
  ["#555f6b", "#aab4c0"],
];

const dashes: readonly number[][] = [[], [6, 3], [2, 3], [9, 3, 2, 3]];

/** FNV-1a, 32 bits, with a last mix: ids that differ in one letter land far apart. */
export function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) {
    h ^= text.charCodeAt(i);
    h = Math.imul(h, 0x01000193);
  }
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  h ^= h >>> 12;
  return h >>> 0;
}

const hex = /^#[0-9a-f]{6}$/i;

/** The colour of a run: what the user gave it, else what its id hashes to. */
export function runColor(id: string, theme: Theme, given?: string | null): string {
  if (given && hex.test(given)) return given;
  const entry = palette[hash(id) % palette.length]!;
  return theme === "dark" ? entry[1] : entry[0];
}

/** Dashes for a list of colours: solid for the first of each colour, dashed for the next. */
export function dashesFor(colors: readonly string[]): number[][] {
  const seen = new Map<string, number>();
  return colors.map((color) => {
    const times = seen.get(color) ?? 0;
    seen.set(color, times + 1);
    return dashes[times % dashes.length]!;
  });
}

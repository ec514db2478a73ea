// Colours that programs send to a terminal, as classes. What else a terminal would do is left out.

export interface Span {
  text: string;
  className: string;
}

const sequence = /\x1b\[([0-9;]*)m|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-Z\\-_]/g;
const names = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

interface Style {
  color: string | null;
  isBold: boolean;
  isDim: boolean;
  isItalic: boolean;
  isUnderlined: boolean;
}

const plain: Style = { color: null, isBold: false, isDim: false, isItalic: false, isUnderlined: false };

/** Cut a line at its colours. */
export function spans(text: string): Span[] {
  if (!text.includes("\x1b")) return [{ text, className: "" }];
  const found: Span[] = [];
  let style = plain;
  let start = 0;
  const put = (end: number): void => {
    if (end > start) found.push({ text: text.slice(start, end), className: classOf(style) });
  };
  for (const match of text.matchAll(sequence)) {
    put(match.index);
    start = match.index + match[0].length;
    if (match[1] !== undefined) style = changed(style, match[1]);
  }
  put(text.length);
  return found;
}

/** The text alone, as it is searched and copied. */
export function bare(text: string): string {
  return text.includes("\x1b") ? text.replace(sequence, "") : text;
}

function changed(before: Style, codes: string): Style {
  const style = { ...before };
  const list = codes.split(";").map(Number);
  for (let i = 0; i < list.length; i++) {
    const code = list[i]!;
    if (code === 0) Object.assign(style, plain);
    else if (code === 1) style.isBold = true;
    else if (code === 2) style.isDim = true;
    else if (code === 3) style.isItalic = true;
    else if (code === 4) style.isUnderlined = true;
    else if (code === 22) style.isBold = style.isDim = false;
    else if (code === 23) style.isItalic = false;
    else if (code === 24) style.isUnderlined = false;
    else if (code >= 30 && code <= 37) style.color = names[code - 30]!;
    else if (code >= 90 && code <= 97) style.color = names[code - 90]!;
    else if (code === 39) style.color = null;
    else if (code === 38 || code === 48) {
      // Of 256 colours the first 16 have names; the others, and those by red, green and blue, are left as they are.
      if (list[i + 1] === 5 && code === 38) {
        const number = list[i + 2] ?? 0;
        style.color = number < 16 ? names[number % 8]! : null;
      }
      i += list[i + 1] === 5 ? 2 : 4;
    }
  }
  return style;
}

function classOf(style: Style): string {
  const classes = [];
  if (style.color !== null) classes.push(`ansi-${style.color}`);
  if (style.isBold) classes.push("ansi-bold");
  if (style.isDim) classes.push("ansi-dim");
  if (style.isItalic) classes.push("ansi-italic");
  if (style.isUnderlined) classes.push("ansi-underlined");
  return classes.join(" ");
}

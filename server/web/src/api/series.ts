// The packed answer of POST /series: a JSON header, then float64 columns that are read where they lie, without a copy.

export interface Line {
  run: string;
  key: string;
  /** How many buckets there are: the length of every column. */
  n: number;
  /** How many logged values they hold. */
  points: number;
  /** Each distinct x has a bucket of its own. */
  exact: boolean;
  x: Float64Array;
  xLast: Float64Array;
  first: Float64Array;
  last: Float64Array;
  min: Float64Array;
  max: Float64Array;
  mean: Float64Array;
  count: Float64Array;
  nan: Float64Array;
  posinf: Float64Array;
  neginf: Float64Array;
}

interface Header {
  series: {
    run: string;
    key: string;
    n: number;
    points: number;
    exact: boolean;
    offset: number;
    columns: string[];
  }[];
}

/** Read a `application/x-tracker-series` answer. Throws where the bytes end before the columns do. */
export function decodeSeries(bytes: ArrayBuffer): Line[] {
  if (bytes.byteLength < 4) throw new Error(`a series answer of ${bytes.byteLength} bytes has no header`);
  const length = new DataView(bytes).getUint32(0, true);
  const text = new TextDecoder().decode(new Uint8Array(bytes, 4, length));
  const header = JSON.parse(text) as Header;
  // The server pads header and length bytes together to a multiple of 8, so float64 views may lie on the answer itself.
  const base = Math.ceil((4 + length) / 8) * 8;

  return header.series.map((one) => {
    const column = (name: string): Float64Array => {
      const place = one.columns.indexOf(name);
      if (place < 0) return new Float64Array(one.n);
      return new Float64Array(bytes, base + 8 * (one.offset + place * one.n), one.n);
    };
    return {
      run: one.run,
      key: one.key,
      n: one.n,
      points: one.points,
      exact: one.exact,
      x: column("x"),
      xLast: column("x_last"),
      first: column("first"),
      last: column("last"),
      min: column("min"),
      max: column("max"),
      mean: column("mean"),
      count: column("count"),
      nan: column("nan"),
      posinf: column("posinf"),
      neginf: column("neginf"),
    };
  });
}

/** A line without points: what a run that never logged the metric has. */
export function emptyLine(run: string, key: string): Line {
  const none = new Float64Array(0);
  return {
    run,
    key,
    n: 0,
    points: 0,
    exact: true,
    x: none,
    xLast: none,
    first: none,
    last: none,
    min: none,
    max: none,
    mean: none,
    count: none,
    nan: none,
    posinf: none,
    neginf: none,
  };
}

/** What a line keeps in memory, in bytes: eleven float64 columns. */
export function lineBytes(line: Line): number {
  return line.n * 11 * 8;
}

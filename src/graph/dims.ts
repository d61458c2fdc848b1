/**
 * Symbolic dimensions. A dimension is a whole number, or a polynomial over names (`batch`, `seq`, `past`) kept as its
 * canonical text (`past + seq`, `2*seq`, `batch*seq`), so that equal dimensions are equal strings and shapes stay plain data.
 */
import { usageError } from "../errors.js";

/** A known size, or the canonical text of a polynomial over symbol names. */
export type Dim = number | string;

export type Shape = readonly Dim[];

/** Monomial (names sorted, joined by `*`; empty for the constant) to integer coefficient. */
type Polynomial = ReadonlyMap<string, number>;

const symbolPattern = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** The sum of two dimensions. */
export function addDims(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return a + b;
  return format(combine(parse(a), parse(b), 1));
}

/** The difference of two dimensions. */
export function subtractDims(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return format(combine(parse(a), parse(b), -1));
}

/** The product of any number of dimensions; 1 for none. */
export function multiplyDims(...dims: readonly Dim[]): Dim {
  return dims.reduce((a, b) => {
    if (a === 1) return b;
    if (b === 1) return a;
    if (typeof a === "number" && typeof b === "number") return a * b;
    const key = `${a} times ${b}`;
    const product = products.get(key) ?? format(multiply(parse(a), parse(b)));
    products.set(key, product);
    return product;
  }, 1 as Dim);
}

const products = new Map<string, Dim>();

/** The exact quotient of two dimensions where the divisor is one term, or undefined where it does not divide. */
export function divideDims(a: Dim, b: Dim): Dim | undefined {
  if (a === b) return 1;
  if (typeof a === "number" && typeof b === "number") return b !== 0 && a % b === 0 ? a / b : undefined;
  const [divisor, ...others] = [...parse(b)];
  if (divisor === undefined || others.length > 0) return undefined;
  const quotient = new Map<string, number>();
  for (const [monomial, coefficient] of parse(a)) {
    const rest = removeSymbols(monomial, divisor[0]);
    if (rest === undefined || coefficient % divisor[1] !== 0) return undefined;
    quotient.set(rest, coefficient / divisor[1]);
  }
  return format(quotient);
}

/** The names that a dimension depends on, sorted. */
export function symbolsOf(dim: Dim): readonly string[] {
  if (typeof dim === "number") return [];
  const known = symbols.get(dim);
  if (known !== undefined) return known;
  const names = [...parse(dim).keys()].flatMap((monomial) => (monomial === "" ? [] : monomial.split("*")));
  const own = [...new Set(names)].sort();
  symbols.set(dim, own);
  return own;
}

const symbols = new Map<string, readonly string[]>();

/** The terms of a dimension: coefficient and symbol names of each. */
export function termsOf(dim: Dim): { coefficient: number; symbols: string[] }[] {
  return [...parse(dim)].map(([monomial, coefficient]) => ({
    coefficient,
    symbols: monomial === "" ? [] : monomial.split("*"),
  }));
}

/** The value of a dimension where its symbols have the given sizes. Throws where one is missing. */
export function evaluateDim(dim: Dim, sizes: Readonly<Record<string, number>>): number {
  if (typeof dim === "number") return dim;
  let total = 0;
  for (const { coefficient, symbols } of termsOf(dim)) {
    total += symbols.reduce((product, symbol) => product * sizeOf(symbol, sizes, dim), coefficient);
  }
  return total;
}

/** A shape as people read it: `[batch, seq, 576]`. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

/** Whether two shapes are the same, dimension by dimension. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

function sizeOf(symbol: string, sizes: Readonly<Record<string, number>>, dim: Dim): number {
  const size = sizes[symbol];
  if (size === undefined) throw usageError(`the size of dimension "${symbol}" (in ${dim}) is not known`);
  return size;
}

const parsed = new Map<string, Polynomial>();

function parse(dim: Dim): Polynomial {
  if (typeof dim === "number") return new Map(dim === 0 ? [] : [["", dim]]);
  const known = parsed.get(dim);
  if (known) return known;
  const result = new Map<string, number>();
  const text = dim.replace(/\s/g, "");
  if (!/^[+-]?[^+-]+([+-][^+-]+)*$/.test(text)) throw malformed(dim);
  for (const [, sign, term] of text.matchAll(/([+-]?)([^+-]+)/g)) {
    let coefficient = sign === "-" ? -1 : 1;
    const symbols: string[] = [];
    for (const factor of (term as string).split("*")) {
      if (/^\d+$/.test(factor)) coefficient *= Number(factor);
      else if (symbolPattern.test(factor)) symbols.push(factor);
      else throw malformed(dim);
    }
    addTerm(result, symbols.sort().join("*"), coefficient);
  }
  parsed.set(dim, result);
  return result;
}

function malformed(dim: string) {
  return usageError(
    `"${dim}" is not a dimension: expected a size, a name, or a sum of products such as "past + 2*seq"`,
  );
}

function addTerm(terms: Map<string, number>, monomial: string, coefficient: number): void {
  const sum = (terms.get(monomial) ?? 0) + coefficient;
  if (sum === 0) terms.delete(monomial);
  else terms.set(monomial, sum);
}

function combine(a: Polynomial, b: Polynomial, sign: 1 | -1): Polynomial {
  const result = new Map(a);
  for (const [monomial, coefficient] of b) addTerm(result, monomial, sign * coefficient);
  return result;
}

function multiply(a: Polynomial, b: Polynomial): Polynomial {
  const result = new Map<string, number>();
  for (const [left, x] of a) {
    for (const [right, y] of b) {
      const symbols = [left, right].flatMap((monomial) => (monomial === "" ? [] : monomial.split("*")));
      addTerm(result, symbols.sort().join("*"), x * y);
    }
  }
  return result;
}

function removeSymbols(monomial: string, divisor: string): string | undefined {
  const rest = monomial === "" ? [] : monomial.split("*");
  for (const symbol of divisor === "" ? [] : divisor.split("*")) {
    const at = rest.indexOf(symbol);
    if (at < 0) return undefined;
    rest.splice(at, 1);
  }
  return rest.join("*");
}

function format(terms: Polynomial): Dim {
  const sorted = [...terms].sort(([a], [b]) => (a === "" ? 1 : b === "" ? -1 : a < b ? -1 : a > b ? 1 : 0));
  if (sorted.length === 0) return 0;
  const [only] = sorted;
  if (sorted.length === 1 && only?.[0] === "") return only[1];
  return sorted
    .map(([monomial, coefficient], i) => {
      const size = Math.abs(coefficient);
      const body = monomial === "" ? `${size}` : size === 1 ? monomial : `${size}*${monomial}`;
      if (i === 0) return coefficient < 0 ? `-${body}` : body;
      return coefficient < 0 ? ` - ${body}` : ` + ${body}`;
    })
    .join("");
}

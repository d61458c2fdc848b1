/** Numbers as a reader wants them: three digits, a real minus sign, a word where there is none; and nice steps for axes. */
import { type Axis, hasValue, type Value } from "./figure.js";
import { visible } from "./text.js";

/** What stands in place of a number that does not exist. */
export const noValue = "no value";

/** A number with `digits` significant digits and no trailing zeros, `−` for minus, or "no value". */
export function formatNumber(value: Value | undefined, digits = 3): string {
  if (!hasValue(value)) return noValue;
  const size = Math.abs(value);
  const text =
    size !== 0 && (size < 1e-4 || size >= 1e6)
      ? value.toExponential(digits - 1).replace(/\.?0+e/, "e")
      : String(Number(value.toPrecision(digits)));
  return text.replace("e+", "e").replaceAll("-", "−");
}

/**
 * A format with as many decimals for all of `values` as give the largest `digits` significant digits, so that numbers below
 * each other can be compared.
 */
export function formatAlike(values: readonly Value[], digits = 3): (value: Value) => string {
  const [low, high] = extent(values) ?? [0, 0];
  const most = Math.max(Math.abs(low), Math.abs(high));
  if (most < 1e-4 || most >= 1e6) return (value) => formatNumber(value, digits);
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(most)));
  return (value) => {
    if (!hasValue(value)) return noValue;
    const text = value.toFixed(decimals);
    return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
  };
}

/** An axis title with its units in parentheses; empty without an axis. */
export function axisTitle(axis: Axis | undefined): string {
  if (!axis) return "";
  return visible(axis.units === undefined ? axis.label : `${axis.label} (${axis.units})`);
}

/** The smallest and largest number of those that exist; `undefined` where none does. */
export function extent(values: Iterable<Value>): [number, number] | undefined {
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (!hasValue(value)) continue;
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  return least <= most ? [least, most] : undefined;
}

/** Where a value lies between two others, 0 at `low` and 1 at `high`, also where their distance is too large for a number. */
export function fraction(value: number, low: number, high: number): number {
  const span = high - low;
  return Number.isFinite(span) ? (value - low) / span : (value / 2 - low / 2) / (high / 2 - low / 2);
}

/** The smallest of 1, 2, 5, 10, 20, 50, ... that is at least `least`. */
export function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least) ?? 10 * power;
}

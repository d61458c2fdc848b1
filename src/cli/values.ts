/** Values of options, from text. What is wrong is a usage error that commander puts beside the option's name. */
import { InvalidArgumentError } from "commander";

/** A decimal number with an optional sign and exponent. */
export const numberPattern = "[+-]?(?:\\d+\\.?\\d*|\\.\\d+)(?:[eE][+-]?\\d+)?";

const wholeText = new RegExp(`^${numberPattern}$`);

/** A finite number. */
export function finiteNumber(text: string): number {
  const value = Number(text);
  if (!wholeText.test(text) || !Number.isFinite(value)) throw new InvalidArgumentError("It must be a number.");
  return value;
}

/** A number of at least 0. */
export function sizeNumber(text: string): number {
  const value = finiteNumber(text);
  if (value < 0) throw new InvalidArgumentError("It must be a number of at least 0.");
  return value;
}

/** Reads a whole number of at least `minimum`. */
export function wholeNumber(minimum: number): (text: string) => number {
  return (text) => {
    const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value) || value < minimum)
      throw new InvalidArgumentError(
        minimum === Number.MIN_SAFE_INTEGER
          ? "It must be a whole number."
          : `It must be a whole number of at least ${minimum}.`,
      );
    return value;
  };
}

/** Whole numbers of at least 0, separated by commas. */
export function numberList(text: string): number[] {
  const parts = text.split(",").map((part) => part.trim());
  if (parts.some((part) => !/^\d+$/.test(part) || !Number.isSafeInteger(Number(part))))
    throw new InvalidArgumentError("It must be whole numbers separated by commas, such as 5,7,9.");
  return parts.map(Number);
}

const byteUnits: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  ki: 2 ** 10,
  mi: 2 ** 20,
  gi: 2 ** 30,
};

/** A number of bytes: `500000`, `500MB`, `4GiB`. */
export function byteCount(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]i?)?b?$/i.exec(text.trim());
  if (match === null) throw new InvalidArgumentError("It must be a number of bytes, such as 500MB or 4GiB.");
  return Math.floor(Number(match[1]) * (byteUnits[(match[2] ?? "").toLowerCase()] as number));
}

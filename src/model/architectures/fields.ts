/** Reads fields out of a checkpoint's configuration, which comes from outside: every value is checked before it is used. */
import { failure } from "../../errors.js";

/** A configuration as fields by name: config.json, or a GGUF file's key-values. */
export interface Fields {
  /** Names the file in messages. */
  readonly where: string;
  get(key: string): unknown;
}

/** Fields of parsed JSON. Throws where it is not an object. */
export function jsonFields(value: unknown, where: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw failure(`${where} is not a JSON object`);
  const record = value as Record<string, unknown>;
  return { where, get: (key) => (Object.hasOwn(record, key) ? record[key] : undefined) };
}

/** Work and memory grow with sizes before the weights are looked at: no model comes near these. */
const largestSize = 2 ** 24;
const mostLayers = 2 ** 12;

/** A whole number from 1 to 2^24; `fallback` where the field is absent or null. */
export function size(fields: Fields, key: string, fallback?: number): number {
  return wholeNumber(fields, key, largestSize, fallback);
}

/** A number of layers: a whole number from 1 to 4,096. */
export function layerCount(fields: Fields, key: string): number {
  return wholeNumber(fields, key, mostLayers);
}

function wholeNumber(fields: Fields, key: string, largest: number, fallback?: number): number {
  const value = absent(fields.get(key)) ? fallback : fields.get(key);
  const number = typeof value === "bigint" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isInteger(number) || number < 1 || number > largest) {
    throw failure(`${fields.where}: "${key}" is ${shown(value)}; it must be a whole number from 1 to ${largest}`);
  }
  return number;
}

/** A finite positive number. */
export function positive(fields: Fields, key: string, fallback?: number): number {
  const value = absent(fields.get(key)) ? fallback : fields.get(key);
  if (typeof value !== "number" || !Number.isFinite(value) || value <= 0) {
    throw failure(`${fields.where}: "${key}" is ${shown(value)}; it must be a positive number`);
  }
  return value;
}

/** True or false; `fallback` where absent. */
export function flag(fields: Fields, key: string, fallback: boolean): boolean {
  const value = absent(fields.get(key)) ? fallback : fields.get(key);
  if (typeof value !== "boolean")
    throw failure(`${fields.where}: "${key}" is ${shown(value)}; it must be true or false`);
  return value;
}

/** One of a table's keys; the table's value for it. */
export function choice<T>(fields: Fields, key: string, table: Readonly<Record<string, T>>, fallback?: string): T {
  const value = absent(fields.get(key)) ? fallback : fields.get(key);
  if (typeof value !== "string" || !Object.hasOwn(table, value)) {
    throw failure(`${fields.where}: "${key}" is ${shown(value)}; supported here: ${Object.keys(table).join(", ")}`);
  }
  return table[value] as T;
}

/** Throws unless the field is absent, null, or one of the values: something that is not supported yet. */
export function unsupportedUnless(fields: Fields, key: string, allowed: readonly unknown[]): void {
  const value = fields.get(key);
  if (absent(value) || allowed.includes(value)) return;
  throw failure(
    `${fields.where}: "${key}" is ${shown(value)}, which is not supported (supported: ${allowed.map(shown).join(", ") || "leaving it out"})`,
  );
}

function absent(value: unknown): boolean {
  return value === undefined || value === null;
}

/** A value of a configuration as messages quote it, of any length and kind. */
export function shown(value: unknown): string {
  if (value === undefined) return "missing";
  const text = typeof value === "bigint" ? `${value}` : (JSON.stringify(value) ?? typeof value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}

/** Throws where sizes do not fit together. */
export function divides(part: number, whole: number, message: string): void {
  if (whole % part !== 0) throw failure(message);
}

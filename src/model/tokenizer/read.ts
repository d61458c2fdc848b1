/**
 * Reading values that came out of a file which anyone may have written: each function checks one kind of value and
 * fails with the place in the file where it stood.
 */
import { failure } from "../../errors.js";

/** Any object, its values not yet checked. */
export type Fields = Readonly<Record<string, unknown>>;

/** Ids beyond this are nonsense: the largest vocabularies in use are some hundred thousand tokens. */
const LARGEST_ID = 4_194_303;

/** How an unexpected value is named in a message. */
function kindOf(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  return Array.isArray(value) ? "a list" : `${typeof value} ${String(value).slice(0, 40)}`;
}

/** An object that is not a list. */
export function fieldsOf(value: unknown, where: string): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw failure(`${where}: an object should stand here, not ${kindOf(value)}`);
}

/** A string. */
export function textOf(value: unknown, where: string): string {
  if (typeof value === "string") return value;
  throw failure(`${where}: a text should stand here, not ${kindOf(value)}`);
}

/** A list, or a typed array. */
export function listOf(value: unknown, where: string): ArrayLike<unknown> {
  if (Array.isArray(value)) return value;
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return value as unknown as ArrayLike<unknown>;
  throw failure(`${where}: a list should stand here, not ${kindOf(value)}`);
}

/** A number. */
export function numberOf(value: unknown, where: string): number {
  if (typeof value === "number" && !Number.isNaN(value)) return value;
  throw failure(`${where}: a number should stand here, not ${kindOf(value)}`);
}

/** A list of strings. Places are spelled out only for a failure: these lists are long, and most of loading. */
export function textsOf(value: unknown, where: string): readonly string[] {
  const list = listOf(value, where);
  for (let i = 0; i < list.length; i++) if (typeof list[i] !== "string") textOf(list[i], `${where}[${i}]`);
  return list as ArrayLike<string> as readonly string[];
}

/** A list of numbers, plain or typed. */
export function numbersOf(value: unknown, where: string): ArrayLike<number> {
  const list = listOf(value, where);
  for (let i = 0; i < list.length; i++) if (typeof list[i] !== "number") numberOf(list[i], `${where}[${i}]`);
  return list as ArrayLike<number>;
}

/** Whether a value can be a token's id: a whole number from 0. */
export function isId(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= LARGEST_ID;
}

/** A token's id, possibly read as a big integer. */
export function idOf(value: unknown, where: string): number {
  const id = typeof value === "bigint" ? Number(value) : value;
  if (isId(id)) return id;
  throw failure(`${where}: a token id from 0 to ${LARGEST_ID} should stand here, not ${kindOf(value)}`);
}

/** True or false; `fallback` where nothing stands. */
export function flagOf(value: unknown, fallback: boolean, where: string): boolean {
  if (value === undefined || value === null) return fallback;
  if (typeof value === "boolean") return value;
  throw failure(`${where}: true or false should stand here, not ${kindOf(value)}`);
}

/**
 * The entry of `table` that a configuration's `type` names, applied to the configuration. An unknown type fails and
 * names the known ones.
 */
export function byType<Result>(
  table: Readonly<Record<string, (config: Fields, where: string) => Result>>,
  value: unknown,
  where: string,
): Result {
  const config = fieldsOf(value, where);
  const type = textOf(config.type, `${where}.type`);
  const make = Object.hasOwn(table, type) ? table[type] : undefined;
  if (make === undefined) {
    throw failure(`${where}: "${type}" is not supported; known are ${Object.keys(table).join(", ")}`);
  }
  return make(config, where);
}

/**
 * Clamps as data: what a flag such as `--set 'layers.3.mlp.act[:, -1, 7]=8'` or an entry of a `--clamps` file says. One
 * table of kinds; reading them needs no model, so that a wrong flag is refused before one is opened.
 */
import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { failure, messageOf, nearestNames, usageError } from "../errors.js";
import { numberPattern } from "./values.js";

export type ClampKind = "set" | "add" | "scale" | "zero" | "mean" | "patch" | "project" | "quantize";

/** A clamp as data. `file` is an absolute path once read. */
export interface ClampSpec {
  readonly kind: ClampKind;
  readonly site: string;
  readonly value?: number | readonly number[];
  /** A `.safetensors` file: a recording for `mean` and `patch`, any other for the rest. */
  readonly file?: string;
  /** The tensor in the file; for `patch`, the recorded site if it is another one. */
  readonly tensor?: string;
  /** Multiplies the tensor. */
  readonly factor?: number;
  readonly bits?: number;
  readonly keep?: "rest" | "span";
}

type Field = Exclude<keyof ClampSpec, "kind" | "site">;

interface Form {
  readonly needs: readonly Field[];
  readonly may?: readonly Field[];
}

interface Kind {
  /** The flag's argument, for help and messages. */
  readonly argument: string;
  readonly help: string;
  /** Combinations of fields that make one. */
  readonly forms: readonly Form[];
  /** Reads what follows `site=` in a flag; undefined where it is nothing of the kind. */
  readonly read: (text: string) => Partial<ClampSpec> | undefined;
}

const numbers: readonly Form[] = [{ needs: ["value"] }, { needs: ["file", "tensor"], may: ["factor"] }];
const numberArgument = "site=NUMBER|FILE:name[*factor]";

/** Every kind of clamp. The flag is `--` and the name. */
export const clampKinds: Readonly<Record<ClampKind, Kind>> = {
  set: { argument: numberArgument, help: "the part takes this value", forms: numbers, read: numberOrTensor },
  add: { argument: numberArgument, help: "the value is added", forms: numbers, read: numberOrTensor },
  scale: { argument: numberArgument, help: "the part is multiplied", forms: numbers, read: numberOrTensor },
  zero: { argument: "site", help: "the part is zero", forms: [{ needs: [] }], read: () => undefined },
  mean: {
    argument: "site=RECORDING",
    help: "the part takes its mean over a recording's tokens",
    forms: [{ needs: ["file"] }],
    read: (file) => ({ file: existing(file) }),
  },
  patch: {
    argument: "site=RECORDING[:name]",
    help: "the part takes what a recording holds there, or at the site `name`",
    forms: [{ needs: ["file"], may: ["tensor"] }],
    read: (text) => (existsSync(text) ? { file: resolve(text) } : (fileAndTensor(text) ?? { file: existing(text) })),
  },
  project: {
    argument: "site=FILE:name",
    help: "the part loses its component along these directions",
    forms: [
      { needs: ["file", "tensor"], may: ["keep"] },
      { needs: ["value"], may: ["keep"] },
    ],
    read: fileAndTensor,
  },
  quantize: {
    argument: "site=BITS",
    help: "the part is rounded to 2^BITS levels a token",
    forms: [{ needs: ["bits"] }],
    read: (text) => (/^\d+$/.test(text) ? { bits: Number(text) } : undefined),
  },
};

const factorPattern = new RegExp(`^(.*)\\*(${numberPattern})$`, "s");
const onlyNumber = new RegExp(`^${numberPattern}$`);

function numberOrTensor(text: string): Partial<ClampSpec> | undefined {
  if (onlyNumber.test(text)) return { value: Number(text) };
  const [, left, factor] = factorPattern.exec(text) ?? [];
  if (left === undefined) return fileAndTensor(text);
  const found = fileAndTensor(left);
  return found && { ...found, factor: Number(factor) };
}

/** `FILE:name`, split at the last colon that leaves an existing file: both may hold colons themselves. */
function fileAndTensor(text: string): { file: string; tensor: string } | undefined {
  for (let at = text.lastIndexOf(":"); at > 0; at = text.lastIndexOf(":", at - 1)) {
    const [file, tensor] = [text.slice(0, at), text.slice(at + 1)];
    if (tensor !== "" && existsSync(file)) return { file: resolve(file), tensor };
  }
  const colon = text.lastIndexOf(":");
  if (colon > 0) throw missing(text.slice(0, colon));
  return undefined;
}

function existing(file: string): string {
  if (!existsSync(file)) throw missing(file);
  return resolve(file);
}

const missing = (file: string) => failure(`there is no file ${file}`);

/** The clamp that a flag states. Throws a usage error where it is none, a failure where its file does not exist. */
export function clampFromFlag(kind: ClampKind, text: string): ClampSpec {
  const { argument, read } = clampKinds[kind];
  // The site's own suffix may hold "=" ([head=3]), so the one that counts comes after the bracket.
  const [, site, rest] = /^([^[\]=]+(?:\[[^[\]]*\])?)(?:=(.*))?$/s.exec(text.trim()) ?? [];
  const fields = rest === undefined ? (kind === "zero" ? {} : undefined) : read(rest.trim());
  if (site === undefined || fields === undefined)
    throw usageError(`--${kind} ${JSON.stringify(text)} is not of the form '${argument}'`);
  return checkSpec({ kind, site, ...fields }, `--${kind} ${JSON.stringify(text)}`);
}

/** Bytes of the largest file of clamps: values by the thousand belong into a `.safetensors` file. */
const fileLimit = 16 << 20;

/**
 * The clamps that a JSON file lists: `[{kind, site, value? | file?, tensor?, factor?, bits?, keep?}]`. Relative files are
 * relative to its folder. Throws a failure where the file cannot be read, a usage error where it lists something else.
 */
export function clampsFromFile(path: string): ClampSpec[] {
  const entries = readJson(path);
  if (!Array.isArray(entries))
    throw usageError(`${path} must hold a list of clamps, [{"kind": ..., "site": ...}, ...]`);
  return entries.map((entry: unknown, i) => {
    const where = `clamp ${i} of ${path}`;
    const spec = checkSpec(entry, where);
    if (spec.file === undefined) return spec;
    const file = resolve(dirname(path), spec.file);
    if (!existsSync(file)) throw failure(`${where}: there is no file ${file}`);
    return { ...spec, file };
  });
}

function readJson(path: string): unknown {
  let text: Buffer;
  try {
    text = readStart(path, fileLimit + 1);
  } catch (error) {
    throw failure(`cannot read the clamps in ${path} (${messageOf(error)})`, error);
  }
  if (text.length > fileLimit) throw failure(`${path} has more than ${fileLimit} bytes, too many for a list of clamps`);
  try {
    return JSON.parse(text.toString());
  } catch (error) {
    throw usageError(`${path} is not JSON: ${messageOf(error)}`, error);
  }
}

/** The first bytes of a file, which may be a device that never ends. */
function readStart(path: string, bytes: number): Buffer {
  const file = openSync(path, "r");
  try {
    const chunks: Buffer[] = [];
    for (let left = bytes; left > 0; ) {
      const chunk = Buffer.alloc(Math.min(left, 1 << 16));
      const read = readSync(file, chunk);
      if (read === 0) break;
      chunks.push(chunk.subarray(0, read));
      left -= read;
    }
    return Buffer.concat(chunks);
  } finally {
    closeSync(file);
  }
}

const isNumber = (value: unknown) => typeof value === "number" && Number.isFinite(value);
const isText = (value: unknown) => typeof value === "string" && value !== "";

const fieldTypes: Readonly<Record<Field, { readonly is: (value: unknown) => boolean; readonly what: string }>> = {
  value: {
    is: (value) => isNumber(value) || (Array.isArray(value) && value.length > 0 && value.every(isNumber)),
    what: "a number or a list of numbers",
  },
  file: { is: isText, what: "a path" },
  tensor: { is: isText, what: "a tensor's name" },
  factor: { is: isNumber, what: "a number" },
  bits: { is: Number.isSafeInteger, what: "a whole number" },
  keep: { is: (value) => value === "rest" || value === "span", what: '"rest" or "span"' },
};

/** What came from outside, as a clamp with the fields of its kind and no others. */
function checkSpec(entry: unknown, where: string): ClampSpec {
  if (typeof entry !== "object" || entry === null || Array.isArray(entry))
    throw usageError(`${where} must be an object with kind and site`);
  const { kind, site, ...fields } = entry as Record<string, unknown>;
  if (typeof kind !== "string" || !Object.hasOwn(clampKinds, kind))
    throw usageError(
      `${where} has the kind ${JSON.stringify(kind)}; the nearest are ${nearestNames(String(kind), Object.keys(clampKinds)).join(", ")}`,
    );
  if (!isText(site)) throw usageError(`${where} needs a site, such as "layers.3.mlp.act[:, -1, 7]"`);
  const { forms } = clampKinds[kind as ClampKind];
  if (!forms.some((form) => fits(form, Object.keys(fields))))
    throw usageError(
      `${where}: ${kind} takes ${forms.map(describeForm).join("; or ")}; it has ${Object.keys(entry).join(", ")}`,
    );
  for (const [name, value] of Object.entries(fields)) {
    const { is, what } = fieldTypes[name as Field];
    if (!is(value)) throw usageError(`${where}: ${name} must be ${what}, not ${JSON.stringify(value)?.slice(0, 60)}`);
  }
  return entry as ClampSpec;
}

function fits({ needs, may = [] }: Form, names: readonly string[]): boolean {
  const allowed: readonly string[] = [...needs, ...may];
  return needs.every((name) => names.includes(name)) && names.every((name) => allowed.includes(name));
}

function describeForm({ needs, may = [] }: Form): string {
  return ["kind", "site", ...needs, ...may.map((name) => `${name}?`)].join(", ");
}

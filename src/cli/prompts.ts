/**
 * Prompts come from one of four places: the argument, `--ids`, a file (lines, or JSONL), or standard input. All end as
 * token ids, so that what is shown is what is run.
 */
import { createReadStream } from "node:fs";
import { addAbortSignal, type Readable } from "node:stream";
import { failure, messageOf, PatchclampError, usageError } from "../errors.js";
import type { Model, Token } from "../model/index.js";

/** A prompt as it was given. */
export type PromptInput = { readonly text: string } | { readonly ids: readonly number[] };

/** How a text becomes tokens. */
export interface TextOptions {
  readonly bos?: boolean;
  readonly chat?: boolean;
  readonly system?: string;
}

export interface PromptSources {
  readonly argument: string | undefined;
  readonly ids?: readonly number[];
  readonly prompts?: string;
}

export interface PromptList {
  readonly inputs: readonly PromptInput[];
  /** Whether they came as a list: then results are a list too. */
  readonly many: boolean;
}

/** Reads the prompts of a call. Throws a usage error where there are none, or two places name some. */
export async function readPrompts(
  { argument, ids, prompts }: PromptSources,
  stdin: Readable & { isTTY?: boolean },
  signal: AbortSignal,
): Promise<PromptList> {
  const given = [argument !== undefined && "PROMPT", ids && "--ids", prompts !== undefined && "--prompts"].filter(
    Boolean,
  );
  if (given.length > 1) throw usageError(`give the prompt once, not as ${given.join(" and ")}`);
  if (ids) return { inputs: [{ ids }], many: false };
  if (prompts !== undefined) return { inputs: await promptsOf(prompts, stdin, signal), many: true };
  if (argument !== undefined && argument !== "-") return { inputs: [{ text: argument }], many: false };
  if (argument === undefined && stdin.isTTY)
    throw usageError("no prompt was given: put it before the options that take lists, or use --ids, --prompts, or -");
  const text = (await readAll(stdin, signal)).replace(/\r?\n$/, "");
  if (text === "") throw usageError("no prompt was given, and standard input is empty");
  return { inputs: [{ text }], many: false };
}

async function promptsOf(path: string, stdin: Readable, signal: AbortSignal): Promise<PromptInput[]> {
  const inputs = (await readRecords(path, stdin, signal)).map(({ value, where }) => promptInput(value, where));
  if (inputs.length === 0) throw usageError(`${path} holds no prompts`);
  return inputs;
}

/** An entry of a file, and where it stands for messages. */
export interface FileRecord {
  readonly value: unknown;
  readonly where: string;
}

/**
 * The entries of a file, or of standard input for `-`: parsed JSON where its name ends in `.jsonl` or its first line is a
 * JSON object or string, else the lines themselves. Empty lines count for nothing.
 */
export async function readRecords(path: string, stdin: Readable, signal: AbortSignal): Promise<FileRecord[]> {
  const text = path === "-" ? await readAll(stdin, signal) : await readAll(createReadStream(path), signal, path);
  const lines = text
    .replace(/^\ufeff/, "")
    .split(/\r?\n/)
    .map((line, i) => ({ line, where: `line ${i + 1} of ${path === "-" ? "standard input" : path}` }))
    .filter(({ line }) => line.trim() !== "");
  const json = /\.(jsonl|ndjson)$/i.test(path) || looksLikeJson(lines[0]?.line);
  return lines.map(({ line, where }) => ({ value: json ? parseLine(line, where) : line, where }));
}

/** Bytes of prompts that are read at most: a device may never end. */
const promptBytes = 128 << 20;

async function readAll(source: Readable, signal: AbortSignal, name = "standard input"): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of addAbortSignal(signal, source)) {
      bytes += (chunk as Buffer).length;
      if (bytes > promptBytes) throw failure(`${name} has more than the ${promptBytes} bytes that are read as prompts`);
      chunks.push(Buffer.from(chunk as Buffer));
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof PatchclampError) throw error;
    throw failure(`cannot read ${name} (${messageOf(error)})`, error);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function looksLikeJson(line: string | undefined): boolean {
  if (line === undefined || !/^\s*[{"]/.test(line)) return false;
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}

function parseLine(line: string, where: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw usageError(`${where} is not JSON: ${messageOf(error)}`, error);
  }
}

const forms = 'a string, {"prompt": "..."} or {"ids": [...]}';

/** A prompt from an entry of a file. Throws a usage error where it is none. */
export function promptInput(value: unknown, where: string): PromptInput {
  if (typeof value === "string") return { text: value };
  const entry = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  if (typeof entry.prompt === "string" && entry.ids === undefined) return { text: entry.prompt };
  if (Array.isArray(entry.ids) && entry.prompt === undefined && entry.ids.every(Number.isSafeInteger))
    return { ids: entry.ids as number[] };
  throw usageError(`${where} is not a prompt: expected ${forms}`);
}

/** The tokens that a prompt stands for in a model. Throws a usage error where ids come with options for text. */
export function promptTokens(model: Model, input: PromptInput, { bos, chat, system }: TextOptions): Token[] {
  if ("ids" in input) {
    if (bos !== undefined || chat || system !== undefined)
      throw usageError("token ids are run as they are: leave out --bos, --no-bos, --chat and --system");
    return model.tokens(input.ids);
  }
  if (!chat && system === undefined) return model.tokens(input.text, bos === undefined ? {} : { bos });
  const written = model.tokenizer.chat([{ role: "user", content: input.text }], system === undefined ? {} : { system });
  // The template writes the beginning-of-text token where the model wants one.
  return model.tokens(written, { bos: bos ?? false });
}

/** What a prompt is called in a figure's caption. */
export function promptLabel(input: PromptInput): string {
  return "ids" in input ? `ids ${input.ids.join(", ")}` : `“${input.text}”`;
}

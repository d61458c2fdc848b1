/** Texts: corpora, tokens learned from them, and streams cut into rows. */
export { type BpeOptions, trainBpe, trainBpeStream } from "./bpe.js";
export { readCorpus, readDocuments, readText, type TextCorpus, type TextDocument, textCorpora } from "./corpora.js";
export { joinDocuments, type TokenBatchesOptions, tokenBatches, tokenRows } from "./pack.js";
export type { BpeTokenizer } from "./tokenizerFile.js";

/** Texts: corpora, tokens learned from them, and streams cut into rows. */
export { type BpeOptions, trainBpe, trainBpeStream } from "./bpe.js";
export { readCorpus, type TextCorpus, textCorpora } from "./corpora.js";
export { type DocumentsOptions, encodeDocuments, readDocuments, type TextDocument } from "./documents.js";
export { readLines, readText } from "./lines.js";
export { joinDocuments, pack, type TokenBatchesOptions, tokenBatches, tokenRows } from "./pack.js";
export type { BpeTokenizer } from "./tokenizerFile.js";

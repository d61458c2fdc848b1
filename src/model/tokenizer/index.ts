/** Text to tokens with offsets, and back; chat templates. From a hub's files or from a GGUF file's metadata. */
export type { ChatMessage, StreamDecoder, Token, Tokenizer } from "./contract.js";
export { tokenizerFromFiles } from "./files.js";
export { tokenizerFromGguf } from "./gguf.js";

/** A byte-level BPE as the contents of Hugging Face's `tokenizer.json`. */

/**
 * What GPT-2 cuts text by. White space is Unicode's, as Rust has it: JavaScript's own class differs by two characters.
 */
export const gptPattern =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+";

/** The contents of a `tokenizer.json` of a byte-level BPE; what is not typed here is fixed. */
export interface BpeTokenizer {
  readonly version: string;
  readonly added_tokens: readonly { readonly id: number; readonly content: string; readonly special: boolean }[];
  readonly model: {
    readonly type: "BPE";
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly string[];
  };
}

export interface Learned {
  readonly tokens: readonly string[];
  /** "left right", in the order in which they apply. */
  readonly merges: readonly string[];
  /** The first of the tokens. */
  readonly special: readonly string[];
  /** GPT-2's own unless given. */
  readonly pattern?: string;
}

export function tokenizerFile({ tokens, merges, special, pattern }: Learned): BpeTokenizer {
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: pattern === undefined };
  const split = { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
  const file = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: pattern === undefined ? bytes : { type: "Sequence", pretokenizers: [split, bytes] },
    post_processor: null,
    decoder: { ...bytes, use_regex: true },
    model: {
      type: "BPE" as const,
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
  return file;
}

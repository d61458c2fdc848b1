/**
 * The parts of the tokenizers library that are used here, with their types: its own don't resolve under Node's module
 * rules. The rest of it gives no offsets, so the steps between are ours.
 */
import * as library from "@huggingface/tokenizers";

interface Parts {
  /** Writes an Oniguruma expression in JavaScript's dialect, as its `pattern`. */
  readonly SplitPreTokenizer: new (config: {
    readonly type: "Split";
    readonly pattern: { readonly Regex?: string; readonly String?: string };
    readonly behavior: "Isolated";
    readonly invert: true;
  }) => { readonly pattern: RegExp | null };
  /** The likeliest cut of each piece; an unknown character is a part by itself. */
  readonly Unigram: new (
    config: { readonly type: "Unigram"; readonly vocab: [string, number][]; readonly unk_id: number },
    eos: string,
  ) => { encode(pieces: readonly string[]): string[] };
}

export const { SplitPreTokenizer, Unigram } = library as unknown as Parts;

/**
 * What the rest of the project knows of a tokenizer: text to tokens with offsets, and back. Whatever a model's files
 * say (byte-level pairs, SentencePiece, WordPiece), it becomes this one interface.
 */

/** A token at its place in a text. */
export interface Token {
  readonly id: number;
  /** The token as people read it: `" Paris"`, `"<|im_start|>"`; a broken character reads as U+FFFD. */
  readonly text: string;
  /**
   * UTF-16 offsets into the text, end exclusive. A token that holds part of a character has the whole character's
   * offsets; one that stands for no text (beginning or end of text) has none: `start === end`.
   */
  readonly start: number;
  readonly end: number;
  /** The token's bytes, present only where they are not valid UTF-8 by themselves. */
  readonly bytes?: readonly number[];
}

/** One turn of a conversation. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** Turns a stream of ids into text as soon as its characters are complete. */
export interface StreamDecoder {
  /** The text that became certain with this id: possibly empty, never half a character. */
  push(id: number): string;
  /** What was held back; an incomplete character reads as U+FFFD. The decoder then starts afresh. */
  flush(): string;
}

export interface Tokenizer {
  /** One more than the largest id. */
  readonly vocabularySize: number;
  /** The beginning-of-text token, if the model has one. */
  readonly bos: number | undefined;
  /** The tokens that end a text; none if the model names none. */
  readonly eos: readonly number[];
  /**
   * The tokens of a text. Special tokens written in it (`<|im_start|>`) are recognised.
   * `bos`: add the model's own special tokens around the text (true), or none (false). Default: the model's setting.
   * Fails with a usage error where `bos` is true and the model has no such token.
   */
  encode(text: string, options?: { readonly bos?: boolean }): Token[];
  /** One entry of the vocabulary; a usage error for an id outside it. */
  token(id: number): { readonly id: number; readonly text: string; readonly bytes?: readonly number[] };
  /** The text of ids. `skipSpecial` leaves special tokens out; default false. */
  decode(ids: readonly number[], options?: { readonly skipSpecial?: boolean }): string;
  /**
   * A streaming decoder. `skipSpecial` as in `decode`. `continuing`: the ids follow other text, so the space before a
   * first word is kept, which `decode` drops for models that put one before every text. Both default to false.
   */
  decoder(options?: { readonly skipSpecial?: boolean; readonly continuing?: boolean }): StreamDecoder;
  /**
   * The id of `"#123"`, or of a text that is exactly one token as it stands inside a text (no space is put before it).
   * A text that is not one token is a usage error that shows the split.
   */
  single(text: string): number;
  /**
   * A conversation as the model's own template writes it. The template writes the beginning-of-text token where the
   * model wants one, so encode the result with `bos: false`. `system` replaces a system message or comes first;
   * `addGenerationPrompt` (default true) ends with the opening of the assistant's turn.
   */
  chat(
    messages: readonly ChatMessage[],
    options?: { readonly system?: string; readonly addGenerationPrompt?: boolean },
  ): string;
  /** The tokens of raw ids, with offsets into `decode(values)`; a usage error for an id outside the vocabulary. */
  ids(values: readonly number[]): Token[];
}

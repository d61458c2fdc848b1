/**
 * Added tokens: the ones that are recognised in a text before anything else happens to it, such as `<|im_start|>`. The
 * longest one that starts furthest left wins.
 */
import { type AlignedText, sliceOf, spaceAfter, spaceBefore } from "./aligned.js";

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** It steers the model and is no text: `decode` can leave it out. */
  readonly special: boolean;
  /** It is looked for in the normalised text. */
  readonly normalized: boolean;
  /** It counts only where no letter or digit touches it. */
  readonly singleWord: boolean;
  /** It takes the white space before it, after it. */
  readonly stripLeft: boolean;
  readonly stripRight: boolean;
}

/** A stretch of text: an added token where `id` is there, else text still to be cut. */
export interface Section {
  readonly text: AlignedText;
  readonly id?: number;
}

/** What an added token looks like in the text that is searched. */
interface Needle {
  readonly token: AddedToken;
  readonly content: string;
}

/**
 * A function that finds added tokens. `contentOf` gives what a token looks like in the text that is searched. Two
 * tokens that look the same there are one: the first counts.
 */
export function addedTokenFinder(
  tokens: readonly AddedToken[],
  contentOf: (token: AddedToken) => string,
): (text: AlignedText) => Section[] {
  const needles = new Map<string, Needle[]>();
  for (const token of tokens) {
    const content = contentOf(token);
    if (content === "") continue;
    const first = content[0] as string;
    const sharing = needles.get(first);
    if (sharing) sharing.push({ token, content });
    else needles.set(first, [{ token, content }]);
  }
  for (const sharing of needles.values()) sharing.sort((a, b) => b.content.length - a.content.length);
  return (source) => (needles.size === 0 ? [{ text: source }] : sectionsOf(source, needles));
}

function sectionsOf(source: AlignedText, needles: ReadonlyMap<string, readonly Needle[]>): Section[] {
  const { text } = source;
  const sections: Section[] = [];
  let read = 0;
  for (let at = 0; at < text.length; ) {
    const needle = needles.get(text[at] as string)?.find(({ content }) => text.startsWith(content, at));
    const stop = at + (needle?.content.length ?? 1);
    if (needle && !(needle.token.singleWord && touchesWord(text, at, stop))) {
      const from = needle.token.stripLeft ? spaceBefore(text, at, read) : at;
      const to = needle.token.stripRight ? spaceAfter(text, stop) : stop;
      if (from > read) sections.push({ text: sliceOf(source, read, from) });
      sections.push({ text: sliceOf(source, from, to), id: needle.token.id });
      read = to;
      at = to;
    } else at = stop;
  }
  if (read < text.length) sections.push({ text: sliceOf(source, read, text.length) });
  return sections;
}

const wordBefore = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const wordAfter = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

function touchesWord(text: string, from: number, to: number): boolean {
  return wordBefore.test(text.slice(Math.max(0, from - 2), from)) || wordAfter.test(text.slice(to, to + 2));
}

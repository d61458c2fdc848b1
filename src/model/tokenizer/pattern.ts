/**
 * Patterns in a `tokenizer.json` are a literal text or a regular expression in Oniguruma's dialect; the library that
 * knows how to write the latter in JavaScript's is asked to.
 */

import { failure, messageOf } from "../../errors.js";
import { SplitPreTokenizer } from "./library.js";
import { fieldsOf, textOf } from "./read.js";

/** Longer expressions than this are an attack rather than a tokenizer; real ones have a few hundred characters. */
const LONGEST_PATTERN = 20_000;

/** A global, Unicode-aware expression for `{String: text}` or `{Regex: expression}`. */
export function patternOf(value: unknown, where: string): RegExp {
  const fields = fieldsOf(value, where);
  const kind = "Regex" in fields ? "Regex" : "String";
  const text = textOf(fields[kind], `${where}.${kind}`);
  if (text === "" || text.length > LONGEST_PATTERN) {
    throw failure(`${where}: a pattern of 1 to ${LONGEST_PATTERN} characters should stand here, not ${text.length}`);
  }
  try {
    const { pattern } = new SplitPreTokenizer({
      type: "Split",
      pattern: { [kind]: text },
      behavior: "Isolated",
      invert: true,
    });
    if (pattern !== null) return pattern;
  } catch (error) {
    throw failure(`${where}: cannot read the expression: ${messageOf(error)}`, error);
  }
  throw failure(`${where}: cannot read the expression ${text.slice(0, 80)}`);
}

/** The tokenizer of a model that came without one: ids work, text does not. */
import { usageError } from "../errors.js";
import type { Tokenizer } from "./tokenizer/index.js";

/** A tokenizer that knows its ids by number alone. */
export function idsOnlyTokenizer(vocabulary: number, where: string): Tokenizer {
  const noText = () => usageError(`${where} came without a tokenizer: give token ids in place of text`);
  const token = (id: number) => {
    if (Number.isInteger(id) && id >= 0 && id < vocabulary) return { id, text: `#${id}` };
    throw usageError(`${id} is not a token id; ids go from 0 to ${vocabulary - 1}`);
  };
  const decode = (ids: readonly number[]) => ids.map((id) => token(id).text).join("");
  return {
    vocabularySize: vocabulary,
    bos: undefined,
    eos: [],
    encode() {
      throw noText();
    },
    token,
    decode,
    decoder: () => ({ push: (id) => token(id).text, flush: () => "" }),
    single(text) {
      if (/^#\d+$/.test(text)) return token(Number(text.slice(1))).id;
      throw noText();
    },
    chat() {
      throw noText();
    },
    ids(values) {
      let end = 0;
      return values.map((id) => {
        const { text } = token(id);
        end += text.length;
        return { id, text, start: end - text.length, end };
      });
    },
  };
}

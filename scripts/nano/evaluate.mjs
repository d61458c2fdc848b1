/** What a checkpoint of nano can do: accuracy of each ability on held-out items, and how its heads attend on repetitions. */
import { shuffled } from "../../dist/data/index.js";
import { open } from "../../dist/model/index.js";
import { random } from "../../dist/runtime/index.js";
import { abilities, listWords } from "./abilities.mjs";

/** The tokens before it are the mark that ends documents, single bytes, and the first pairs of letters. */
const firstMerged = 300;

/**
 * Accuracy by ability (greedy text begins with the answer, or the answer's token beats the wrong ones), and the induction
 * score of each head [layer][head]: on the words that it is taught to repeat, and on any tokens of its vocabulary.
 */
export async function evaluate(reference) {
  const model = await open(reference);
  try {
    const accuracy = {};
    for (const ability of abilities) accuracy[ability.name] = await accuracyOf(model, ability);
    const word = (text) => model.tokenizer.encode(` ${text}`, { bos: false })[0].id;
    const vocabulary = Array.from({ length: model.config.vocabulary - firstMerged }, (_, i) => firstMerged + i);
    const induction = {
      words: await inductionScores(model, { ids: listWords.map(word), length: 8 }),
      tokens: await inductionScores(model, { ids: vocabulary, length: 30 }),
    };
    return { accuracy, induction };
  } finally {
    await model.close();
  }
}

async function accuracyOf(model, { held, choice = false }) {
  const items = held(random(99));
  let right = 0;
  for (let at = 0; at < items.length; at += 40) {
    const part = items.slice(at, at + 40);
    right += choice ? await rightChoices(model, part) : await rightTexts(model, part);
  }
  return right / items.length;
}

async function rightTexts(model, items) {
  const made = await model.generateAll(
    items.map(({ prompt }) => prompt),
    { maxTokens: 6 },
  );
  return items.filter(({ answer }, i) => {
    const { text } = made[i];
    return text.startsWith(answer) && !/^[\p{L}\p{N}]/u.test(text.slice(answer.length));
  }).length;
}

async function rightChoices(model, items) {
  const { logits } = await model.compute(
    items.map(({ prompt }) => prompt),
    ({ last }) => ({ logits: last("logits") }),
    { key: "last logits" },
  );
  const size = model.config.vocabulary;
  const first = (text) => model.tokenizer.encode(text, { bos: false })[0].id;
  return items.filter(({ answer, wrong }, i) => {
    const at = (text) => logits.data[i * size + first(text)];
    return wrong.every((other) => at(answer) > at(other));
  }).length;
}

/**
 * The induction score of each head [layer][head] (Olsson et al. 2022): on different random tokens that come twice, the
 * attention from a token's second time to what followed its first. A head that looks at all equally scores about
 * 1 / (1.5 * length).
 */
async function inductionScores(model, { ids, length }) {
  const draw = random(123);
  const prompts = Array.from({ length: 16 }, () => {
    const order = shuffled(ids.length, { seed: draw.integer(1 << 30) });
    const half = Array.from(order.subarray(0, length), (i) => ids[i]);
    return [0, ...half, ...half];
  });
  const { sites } = await model.record(prompts, "layers.*.attn.pattern");
  const { layers, heads } = model.config;
  const keys = 2 * length + 1;
  return Array.from({ length: layers }, (_, layer) => {
    const { data } = sites[`layers.${layer}.attn.pattern`];
    return Array.from({ length: heads }, (_, head) => {
      let sum = 0;
      for (let row = 0; row < prompts.length; row++) {
        for (let at = length + 1; at < keys; at++) {
          sum += data[((row * heads + head) * keys + at) * keys + at - length + 1];
        }
      }
      return sum / prompts.length / length;
    });
  });
}

/** What a checkpoint of nano can do: accuracy of each ability on held-out items, and how its heads attend on repetitions. */
import { open } from "../../dist/model/index.js";
import { random } from "../../dist/runtime/index.js";
import { abilities } from "./abilities.mjs";

/** Accuracy by ability (greedy text begins with the answer, or the answer's token beats the wrong ones), and induction. */
export async function evaluate(reference) {
  const model = await open(reference);
  try {
    const accuracy = {};
    for (const ability of abilities) accuracy[ability.name] = await accuracyOf(model, ability);
    return { accuracy, induction: await inductionScores(model) };
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
 * The induction score of each head [layer][head] (Olsson et al. 2022): on random tokens that come twice, the attention from
 * a token's second time to what followed its first.
 */
async function inductionScores(model) {
  const draw = random(123);
  const length = 30;
  const prompts = Array.from({ length: 8 }, () => {
    const half = Array.from({ length }, () => 300 + draw.integer(model.config.vocabulary - 300));
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

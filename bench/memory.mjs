/** Prints the proportional set size of this process, in bytes, after using a model in one of two ways. */
import { open, scale } from "../dist/model/index.js";
import { proportionalSetSize } from "./measure.mjs";

const [, , what, reference] = process.argv;
const prompt = Array.from({ length: 128 }, (_, i) => (i * 7919 + 13) % 49152);

const ways = {
  /** Ten edited views of one model, used in turn. */
  async views() {
    const model = await open(reference);
    for (let v = 0; v < 10; v++) {
      const view = model.with(scale(`layers.${v * 3}.mlp.act`, 1.1));
      await view.record(prompt, "logits[:, -1]");
      await view.record(prompt, "layers.*.residPost");
    }
    return [model];
  },
  /** Eight models, each running in a worker thread of its own. */
  async workers() {
    const models = [];
    for (let w = 0; w < 8; w++) {
      const model = await open(reference, { worker: true, threads: 1 });
      await model.record(prompt, "logits[:, -1]");
      models.push(model);
    }
    return models;
  },
};

const models = await ways[what]();
console.log(proportionalSetSize());
for (const model of models) await model.close();

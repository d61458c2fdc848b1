import { it } from "vitest";
import { open } from "../model/index.js";
import { perRow, divergenceSum } from "./measure.js";
import { randomVector, refineSteering, steer, steeringVector, sweepStrength } from "./index.js";
const things = "film book restaurant hotel song game coffee party trip lesson phone garden".split(" ");
const positive = things.map((thing) => `The ${thing} was wonderful. I loved it and I felt happy.`);
const negative = things.map((thing) => `The ${thing} was terrible. I hated it and I felt sad.`);
const prompts = ["My friend saw the play yesterday. He thinks that it was", "We tried the new cafe. The food was", "I think this idea is", "When I saw the painting, I felt"];
const g = ["good", "great", "wonderful", "happy"], b = ["bad", "terrible", "awful", "sad"];
const sentiment = [...g.map((w) => `+ 0.25 * logit( ${w})`), ...b.map((w) => `- 0.25 * logit( ${w})`)].join(" ").slice(2);
const neutral = ["The train leaves the station at nine in the morning.", "Water boils at one hundred degrees at sea level.", "She put the keys on the table and opened the window."];
it("tries", async () => {
  const model = await open(process.env.PATCHCLAMP_TEST_MODEL as string);
  const site = "layers.14.residPost";
  const vector = await steeringVector(model, { site, positive, negative });
  console.log(JSON.stringify(await sweepStrength(model, vector, { strengths: [-1, 0, 1], prompts, metric: sentiment, fluency: neutral }), ["strength", "metric", "perplexity", "kl"]));
  for (const s of [1, 2, 3, 4]) console.log(s, JSON.stringify(await sweepStrength(model, randomVector(vector, s), { strengths: [-1, 0, 1], prompts, metric: sentiment, fluency: neutral }), ["strength", "metric", "perplexity", "kl"]));
  const { history, vector: r } = await refineSteering(model, { prompts, metric: sentiment, start: vector, optimizer: "ascent", stepSize: 0.01, steps: 3 });
  console.log(JSON.stringify(history), r.activationNorm, ((history[1]!.metric - history[0]!.metric) / (history[0]!.gradientNorm * 0.01 * r.activationNorm)).toFixed(3));
  const f = await refineSteering(model, { prompts: prompts.slice(0, 1), metric: sentiment, site, maxNorm: vector.norm, steps: 20 });
  console.log("one-shot", JSON.stringify(f.history.at(-1)), f.stopped);
  for (const v of [f.vector, vector, randomVector(f.vector, 9)]) console.log(JSON.stringify(await sweepStrength(model, v, { strengths: [0, 1], prompts: prompts.slice(1), metric: sentiment, fluency: neutral }), ["strength", "metric", "perplexity", "kl"]));
  const ids = model.tokensAll(prompts).map((t) => t.map(({ id }) => id));
  const nids = model.tokensAll(neutral).map((t) => t.map(({ id }) => id));
  const before = (await model.record(nids, "logits")).sites.logits!;
  for (let k = 0; k < 3; k++) {
    let t = performance.now();
    const lap = () => { const d = performance.now() - t; t = performance.now(); return d.toFixed(0); };
    const view = steer(model, vector, { strength: k });
    await view.record(ids, "logits[:, -1]"); const a = lap();
    await view.record(ids, "logits[:, -1]"); const b2 = lap();
    await view.compute(ids, (c) => ({ m: perRow(c, sentiment) })); const c = lap();
    await view.compute(nids, (c, i) => ({ m: divergenceSum(c, i.before!) }), { inputs: { before } }); const d = lap();
    await view.record(nids, "logits"); const e = lap();
    console.log("record first", a, "again", b2, "compute metric", c, "kl", d, "record logits", e);
  }
  await model.close();
}, 900_000);

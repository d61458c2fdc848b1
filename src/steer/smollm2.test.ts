/**
 * Steering a real model: a sentiment vector against random vectors of its length, a condition on the language of a
 * prompt, and refinement. Twins on tiny checkpoints, which never skip, are the other tests beside it.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { needsRealModel, realModel } from "../../test/support/realModel.js";
import { type Model, open, type Recording, recordedRow } from "../model/index.js";
import {
  conditionalSteering,
  fitCondition,
  randomVector,
  refineSteering,
  type SteeringVector,
  steer,
  steeringVector,
  sweepStrength,
} from "./index.js";

const things = "film book restaurant hotel song game coffee party trip lesson phone garden".split(" ");
const positive = things.map((thing) => `The ${thing} was wonderful. I loved it and I felt happy.`);
const negative = things.map((thing) => `The ${thing} was terrible. I hated it and I felt sad.`);
/** Other sentences than the vector was made from. */
const prompts = [
  "My friend saw the play yesterday. He thinks that it was",
  "We tried the new cafe. The food was",
  "I think this idea is",
  "When I saw the painting, I felt",
];
const [good, bad] = [" good great wonderful happy", " bad terrible awful sad"].map((words) =>
  words.trim().split(" "),
) as [string[], string[]];
/** Mean logit of the good words less that of the bad ones. */
const sentiment = [...good.map((w) => `+ 0.25 * logit( ${w})`), ...bad.map((w) => `- 0.25 * logit( ${w})`)]
  .join(" ")
  .slice(2);
const neutral = [
  "The train leaves the station at nine in the morning.",
  "Water boils at one hundred degrees at sea level.",
  "She put the keys on the table and opened the window.",
];
const english = [
  "The cat is sleeping on the chair.",
  "I would like a glass of water, please.",
  "The children play in the garden.",
  "My brother works in a bank.",
  "The house is big and white.",
  "It is cold in the winter.",
];
const french = [
  "Le chat dort sur la chaise.",
  "Je voudrais un verre d'eau, s'il vous plaît.",
  "Les enfants jouent dans le jardin.",
  "Mon frère travaille dans une banque.",
  "La maison est grande et blanche.",
  "Il fait froid en hiver.",
];

describe.skipIf(realModel === undefined)(`SmolLM2 steered (${needsRealModel})`, { timeout: 900_000 }, () => {
  const site = "layers.14.residPost";
  let model: Model;
  let vector: SteeringVector;
  beforeAll(async () => {
    model = await open(realModel as string);
    vector = await steeringVector(model, { site, positive, negative });
  });
  afterAll(() => model.close());

  it("moves its sentiment both ways, as no random vector of that length does", async () => {
    const options = { strengths: [-1, 0, 1], prompts, metric: sentiment };
    const points = await sweepStrength(model, vector, { ...options, fluency: neutral });
    const [down, none, up] = points as [(typeof points)[0], (typeof points)[0], (typeof points)[0]];
    // Measured: -2.3, 1.4 and 3.3 logits, so a range of 5.6; those of random vectors are 0.1 to 1.3.
    expect(up.metric - none.metric).toBeGreaterThan(1);
    expect(none.metric - down.metric).toBeGreaterThan(2);
    for (const seed of [1, 2, 3, 4]) {
      const [low, , high] = await sweepStrength(model, randomVector(vector, seed), options);
      const range = Math.abs((high?.metric as number) - (low?.metric as number));
      expect(range).toBeLessThan((up.metric - down.metric) / 3);
    }
    expect(up.perplexity as number).toBeLessThan(1.1 * (none.perplexity as number)); // measured 1.01
    expect(none.kl).toBe(0);
    expect(vector.separation).toEqual({ accuracy: 1, folds: 5 });
  });

  it("finds the same direction by four methods", async () => {
    for (const method of ["pca", "logistic", "ridge"] as const) {
      const other = await steeringVector(model, { site, positive, negative, method });
      const dot = other.vector.data.reduce((sum, x, i) => sum + x * (vector.vector.data[i] as number), 0);
      expect(dot / other.norm / vector.norm).toBeGreaterThan(0.9); // a random one: 0.04
    }
  });

  it("steers French prompts and leaves English ones", async () => {
    const sites = "layers.{6,10,14,18}.residPost";
    const condition = await fitCondition(model, { matching: french, others: english, sites, positions: { from: 1 } });
    expect(condition.f1).toBeGreaterThan(0.9);
    const mixed = ["Ce livre est", "This book is", "Nous avons vu le film et il était", "We saw the film and it was"];
    const conditional = conditionalSteering(model, { condition, vectors: vector });
    const decisions = await conditional.decide(mixed);
    expect(decisions.map(({ matches }) => matches)).toEqual([true, false, true, false]);
    const views = [await conditional.view(mixed), model, steer(model, vector)];
    const recordings = await Promise.all(views.map((view) => view.record(mixed, "layers.20.residPost")));
    mixed.forEach((_, r) => {
      const [found, plain, moved] = recordings.map(
        (each) => recordedRow(each as Recording, "layers.20.residPost", r).data,
      );
      expect(found).toEqual(r % 2 === 0 ? moved : plain);
      expect(plain).not.toEqual(moved);
    });
  });

  it("is raised by refinement as its gradient says", async () => {
    const options = {
      prompts,
      metric: sentiment,
      start: vector,
      optimizer: "ascent",
      stepSize: 0.01,
      steps: 3,
    } as const;
    const { history, vector: refined } = await refineSteering(model, options);
    history.slice(1).forEach(({ metric }, i) => {
      expect(metric).toBeGreaterThan(history[i]?.metric as number);
    });
    const [first, second] = history as [(typeof history)[0], (typeof history)[0]];
    const predicted = first.gradientNorm * 0.01 * refined.activationNorm;
    expect((second.metric - first.metric) / predicted).toBeGreaterThan(0.7); // the metric bends over 1% of an activation
    expect((second.metric - first.metric) / predicted).toBeLessThan(1.3);
  });

  it("learns from one prompt what moves others, more than examples or chance do", async () => {
    const [one, ...others] = prompts as [string, ...string[]];
    const options = { prompts: [one], metric: sentiment, site, maxNorm: vector.norm, steps: 12 };
    const { vector: learned } = await refineSteering(model, options);
    const gain = async (own: SteeringVector) => {
      const [none, some] = await sweepStrength(model, own, { strengths: [0, 1], prompts: others, metric: sentiment });
      return (some?.metric as number) - (none?.metric as number);
    };
    // Measured after 20 steps: 9.6 logits; the mean difference gains 1.7, a random vector 0.9, all of one length.
    expect(await gain(learned)).toBeGreaterThan(2 * (await gain(vector)));
    expect(await gain(learned)).toBeGreaterThan(3 * (await gain(randomVector(learned, 9))));
  });

  it("generates under steering", async () => {
    const prompt = "I went to the new restaurant in town and";
    const options = { maxTokens: 12 };
    const plain = await model.generate(prompt, options);
    expect((await steer(model, vector, { strength: 0 }).generate(prompt, options)).ids).toEqual(plain.ids);
    expect((await steer(model, vector, { strength: -2 }).generate(prompt, options)).ids).not.toEqual(plain.ids);
  });
});

/** Conditions against every threshold tried by hand, and conditional views against running each prompt by itself. */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { activation, dot, modelsFolder } from "../../test/fixtures/explain/byHand.js";
import { worstRow } from "../../test/support/agreement.js";
import { type Model, open, type Recording, recordedRow } from "../model/index.js";
import { random } from "../runtime/index.js";
import {
  type Condition,
  conditionalSteering,
  decideCondition,
  fitCondition,
  type SteeringVector,
  steer,
  steeringVector,
} from "./index.js";

const draws = random(5);
const prompt = (length: number, mark: number) =>
  Array.from({ length }, (_, i) => (i === 1 ? mark : 10 + draws.integer(50)));
const matching = Array.from({ length: 8 }, (_, i) => prompt(3 + (i % 4), 3));
const others = Array.from({ length: 10 }, (_, i) => prompt(3 + (i % 3), 7));
/** Prompts that no condition was fitted on. */
const fresh = [prompt(6, 3), prompt(4, 7), prompt(5, 3), prompt(7, 7)];

describe.each(["llama-gqa", "gpt2-odd"])("conditional steering of %s", (name) => {
  let model: Model;
  let condition: Condition;
  let vector: SteeringVector;
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
    condition = await fitCondition(model, { matching, others, sites: "layers.*.residPost", positions: 1 });
    vector = await steeringVector(model, { site: "layers.1.residPost", positive: matching, negative: others });
  });
  afterAll(() => model.close());

  const cosine = async ({ vector: { site, vector: direction } }: Condition, ids: readonly number[]) => {
    const x = await activation(model, ids, site, 1);
    const u = [...direction.data];
    return dot(x, u) / Math.sqrt(dot(x, x) * dot(u, u));
  };

  it("finds a site and a threshold that tell prompts apart, also new ones", async () => {
    expect(condition.f1).toBe(1);
    expect(condition.accuracy).toBe(1);
    expect(condition.folds).toBe(5);
    const decisions = await decideCondition(model, condition, fresh, { batchTokens: 8 });
    expect(decisions.map(({ matches }) => matches)).toEqual([true, false, true, false]);
    for (const [i, ids] of fresh.entries())
      expect(Math.abs((decisions[i]?.similarity as number) - (await cosine(condition, ids)))).toBeLessThan(1e-6); // float32
  });

  it("finds no good one where labels mean nothing", async () => {
    const [first, second] = [0, 1].map((part) => [...matching, ...others].filter((_, i) => i % 2 === part));
    const options = { matching: first as number[][], others: second as number[][], positions: 1 } as const;
    const found = await fitCondition(model, { ...options, sites: "layers.*.residPost" });
    expect(found.accuracy).toBeLessThan(0.85); // the best of several sites and of 18 thresholds each
  });

  it("takes the best of all thresholds", async () => {
    const one = { matching: matching.slice(0, 1), others, sites: "layers.1.residPost", positions: "last" } as const;
    const found = await fitCondition(model, one);
    expect(found.folds).toBeUndefined();
    const values = async (prompts: readonly number[][]) =>
      Promise.all(
        prompts.map(async (ids) => {
          const x = await activation(model, ids, found.vector.site, -1);
          return dot(x, [...found.vector.vector.data]) / Math.sqrt(dot(x, x));
        }),
      );
    const [own, other] = [await values(one.matching), await values(others)];
    const f1 = (threshold: number) => {
      const hits = own.filter((x) => x > threshold).length;
      return (2 * hits) / (own.length + hits + other.filter((x) => x > threshold).length);
    };
    const best = Math.max(...[...own, ...other].map((x) => f1(x - 1e-6)));
    expect(found.f1).toBeCloseTo(best, 12);
    expect(f1(found.threshold)).toBeCloseTo(best, 12);
  });

  it.each(["all", "last", { from: -2 }] as const)(
    "changes the rows that match and no others, at %o",
    async (positions) => {
      const options = { vectors: vector, strength: 3, positions };
      const view = await conditionalSteering(model, { condition, ...options }).view(fresh);
      const [found, plain, moved] = await Promise.all(
        [view, model, steer(model, vector, options)].map((each) => each.record(fresh, "logits")),
      );
      for (const r of fresh.keys()) {
        const row = (recording: typeof found) => recordedRow(recording as Recording, "logits", r);
        // Another graph, which the runtime fuses in another way: a few roundings of float32.
        expect(worstRow(row(found), row(r % 2 === 0 ? moved : plain)).error).toBeLessThan(1e-5);
        expect(worstRow(row(moved), row(plain)).error).toBeGreaterThan(1e-2);
      }
    },
  );

  it("continues each prompt as it does by itself", async () => {
    const options = { vectors: vector, strength: 4, positions: "last" } as const;
    const conditional = conditionalSteering(model, { condition, ...options });
    const growth = { maxTokens: 5, ignoreEnd: true };
    const texts = await conditional.generateAll(fresh, growth);
    const [plain, moved] = [
      await model.generateAll(fresh, growth),
      await steer(model, vector, options).generateAll(fresh, growth),
    ];
    texts.forEach(({ ids }, r) => {
      expect(ids).toEqual((r % 2 === 0 ? moved : plain)[r]?.ids);
    });
    expect(moved.map(({ ids }) => ids)).not.toEqual(plain.map(({ ids }) => ids));
    const [single] = await conditional.generateAll(fresh.slice(0, 1), growth);
    expect(single?.ids).toEqual(moved[0]?.ids);
    expect(await conditional.decide(fresh)).toEqual(await decideCondition(model, condition, fresh));
  });

  it("needs no session for another batch of the same form", async () => {
    const conditional = conditionalSteering(model, { condition, vectors: vector });
    await (await conditional.view(fresh)).record(fresh, "logits[:, -1]");
    const { sessionsOpened } = model.statistics();
    const reversed = [...fresh].reverse();
    await (await conditional.view(reversed)).record(reversed, "logits[:, -1]");
    expect(model.statistics().sessionsOpened).toBe(sessionsOpened);
  });

  it("refuses a batch that it did not decide for, and what steering refuses", async () => {
    const view = await conditionalSteering(model, { condition, vectors: vector }).view(fresh);
    await expect(view.record(fresh.slice(1), "logits")).rejects.toThrow(/does not fit/);
    expect(() => conditionalSteering(model, { condition, vectors: [] })).toThrow(/no vector/);
    await expect(fitCondition(model, { matching: [], others, sites: "embed" })).rejects.toThrow(/must be a list/);
  });
});

/** Steered views against arithmetic on what the model records: exactly where they steer, and nothing elsewhere. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clean, corrupt, dot, lastLogits, modelsFolder } from "../../test/fixtures/explain/byHand.js";
import { logitLens } from "../explain/index.js";
import { add, type Model, open, recorded, recordedRow } from "../model/index.js";
import { normals, tensorOf, toNumbers } from "../runtime/index.js";
import { activationAddition, type Positions, type SteeringVector, type SteerOptions, steer } from "./index.js";

/** Sums of some 20 float32 products, relative to the lengths of the vectors. */
const tolerance = 1e-5;

const short = clean.slice(0, 5);

describe.each(["llama-gqa", "gpt2-odd"])("steering %s", (name) => {
  let model: Model;
  const site = "layers.0.residPost";
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
  });
  afterAll(() => model.close());

  const vectorAt = (at: string, seed = 1): SteeringVector => {
    const shape = model.sites(at)[0]?.shape.slice(2) as number[];
    const data = normals(
      shape.reduce((a, b) => a * b, 1),
      seed,
    );
    const facts = { method: "random", positions: "last", activationNorm: 1, prompts: 0 } as const;
    return {
      site: at,
      vector: tensorOf("float32", shape, data),
      norm: Math.hypot(...data),
      ...facts,
      model: model.identity,
    };
  };
  const tokensOf = async (view: Model, ids: readonly number[], at: string): Promise<number[][]> => {
    const numbers = [...toNumbers(recordedRow(await view.record(ids, at), at))];
    const size = numbers.length / ids.length;
    return ids.map((_, p) => numbers.slice(p * size, (p + 1) * size));
  };
  const steered = (options: SteerOptions, at = site) => tokensOf(steer(model, vectorAt(at), options), clean, at);
  const unit = (vector: SteeringVector) => [...vector.vector.data].map((x) => x / vector.norm);
  const length = (x: readonly number[]) => Math.sqrt(dot(x, x));

  const chosen: [string, Positions, number[]][] = [
    ["all", "all", [0, 1, 2, 3, 4, 5, 6, 7, 8]],
    ["last", "last", [8]],
    ["one", 2, [2]],
    ["one from the end", -3, [6]],
    ["a range", { from: 1, to: -4 }, [1, 2, 3, 4]],
    ["a range to the end", { from: -2 }, [7, 8]],
  ];

  it.each(chosen)("adds strength times the vector exactly, at positions: %s", async (_, positions, places) => {
    for (const at of [site, "layers.1.attn.z"]) {
      const vector = vectorAt(at);
      const before = await tokensOf(model, clean, at);
      const wanted = before.map((x, p) =>
        x.map((value, i) =>
          places.includes(p) ? Math.fround(value + Math.fround(-1.7 * (vector.vector.data[i] as number))) : value,
        ),
      );
      expect(await steered({ strength: -1.7, positions }, at)).toEqual(wanted);
    }
  });

  it("steers each row of a padded batch at its own positions", async () => {
    const view = steer(model, vectorAt(site), { positions: { from: -2 } });
    const both = await view.record([clean, short], site);
    for (const [r, ids] of [clean, short].entries()) {
      const alone = recordedRow(await view.record(ids, site), site);
      expect(recordedRow(both, site, r).data).toEqual(alone.data);
    }
  });

  it("removes a component, or a part of it", async () => {
    const u = unit(vectorAt(site));
    const before = await tokensOf(model, clean, site);
    for (const strength of [1, 0.25]) {
      const after = await steered({ mode: "remove", strength });
      after.forEach((x, p) => {
        const was = before[p] as number[];
        const wanted = was.map((value, i) => value - strength * dot(was, u) * (u[i] as number));
        expect(length(x.map((value, i) => value - (wanted[i] as number)))).toBeLessThan(tolerance * length(was));
      });
    }
    expect(Math.max(...before.map((x) => Math.abs(dot(x, u)) / length(x)))).toBeGreaterThan(100 * tolerance);
  });

  it("sets a component and leaves the others", async () => {
    const u = unit(vectorAt(site));
    const before = await tokensOf(model, clean, site);
    const after = await steered({ mode: "set", strength: 2.5 });
    after.forEach((x, p) => {
      const was = before[p] as number[];
      expect(Math.abs(dot(x, u) - 2.5)).toBeLessThan(tolerance * (2.5 + length(was)));
      const rest = (y: readonly number[]) => y.map((value, i) => value - dot(y, u) * (u[i] as number));
      const change = rest(x).map((value, i) => value - (rest(was)[i] as number));
      expect(length(change)).toBeLessThan(tolerance * (2.5 + length(was)));
    });
  });

  it("rotates without a change of length", async () => {
    const vector = vectorAt(site);
    const before = await tokensOf(model, clean, site);
    const after = await steered({ mode: "rotate", strength: 0.5 });
    after.forEach((x, p) => {
      const was = before[p] as number[];
      const moved = was.map((value, i) => value + 0.5 * (vector.vector.data[i] as number));
      const wanted = moved.map((value) => (value * length(was)) / length(moved));
      expect(length(x.map((value, i) => value - (wanted[i] as number)))).toBeLessThan(tolerance * length(was));
      expect(length(x.map((value, i) => value - (was[i] as number)))).toBeGreaterThan(100 * tolerance * length(was));
    });
  });

  it("changes nothing at a strength of 0", async () => {
    const logits = await lastLogits(model, clean);
    expect(await lastLogits(steer(model, vectorAt(site), { strength: 0 }), clean)).toEqual(logits);
    expect(await lastLogits(steer(model, vectorAt(site), { strength: 1 }), clean)).not.toEqual(logits);
  });

  it("needs no session for another strength, vector or threshold", async () => {
    const condition = { vector: vectorAt(site, 5), threshold: 0.1 };
    await lastLogits(steer(model, vectorAt(site), { positions: 2, when: condition }), clean);
    const { sessionsOpened } = model.statistics();
    for (const k of [3, 4]) {
      const when = { vector: vectorAt(site, 5 + k), threshold: 0.01 * k };
      await lastLogits(steer(model, vectorAt(site, k), { strength: k, positions: k, when }), clean);
    }
    expect(model.statistics().sessionsOpened).toBe(sessionsOpened);
  });

  it("steers along several vectors in order, each with its strength", async () => {
    const vectors = [vectorAt(site, 1), vectorAt("layers.1.mlp.out", 2), vectorAt(site, 3)];
    const view = steer(model, vectors, { strength: [1, -2, 0.5], positions: "last" });
    const one = steer(model, vectors[0] as SteeringVector, { positions: "last" });
    const two = steer(one, vectors[1] as SteeringVector, { strength: -2, positions: "last" });
    const three = steer(two, vectors[2] as SteeringVector, { strength: 0.5, positions: "last" });
    expect(await lastLogits(view, clean)).toEqual(await lastLogits(three, clean));
    expect(await lastLogits(view, clean)).not.toEqual(await lastLogits(two, clean));
  });

  it("steers only tokens that meet a condition", async () => {
    const condition = vectorAt(site, 5);
    const u = unit(condition);
    const before = await tokensOf(model, clean, site);
    const cosines = before.map((x) => dot(x, u) / length(x));
    const sorted = [...cosines].sort((a, b) => a - b);
    const threshold = ((sorted[4] as number) + (sorted[5] as number)) / 2;
    const after = await steered({ strength: 3, when: { vector: condition, threshold } });
    const always = await steered({ strength: 3 });
    after.forEach((x, p) => {
      expect(x).toEqual(((cosines[p] as number) > threshold ? always : before)[p]);
    });
    expect(cosines.filter((c) => c > threshold)).toHaveLength(4);
  });

  it("works in generation, a gradient and a lens as a clamp does", async () => {
    const vector = vectorAt(site);
    const view = steer(model, vector, { strength: 2 });
    const clamped = model.with(
      add(
        site,
        vector.vector.data.map((x) => 2 * x),
      ),
    );
    const options = { maxTokens: 6, ignoreEnd: true } as const;
    const texts = await view.generateAll([clean, short], options);
    expect(texts.map(({ ids }) => ids)).toEqual(
      (await clamped.generateAll([clean, short], options)).map(({ ids }) => ids),
    );
    expect(texts.map(({ ids }) => ids)).not.toEqual(
      (await model.generateAll([clean, short], options)).map(({ ids }) => ids),
    );
    const lens = await logitLens(view, clean, { target: 9 });
    expect(lens.layers).toEqual((await logitLens(clamped, clean, { target: 9 })).layers);
    const metric = "logit(#9) - logit(#4)";
    const at = async (strength: number) =>
      (await steer(model, vector, { strength }).gradient(clean, { of: metric, at: site })).values[0] as number;
    const gradient = await view.gradient(clean, { of: metric, at: site });
    const tokens = toNumbers(recorded(gradient, site));
    const size = vector.vector.data.length;
    const slope = tokens.reduce((sum, g, i) => sum + g * (vector.vector.data[i % size] as number), 0);
    const measured = ((await at(2.01)) - (await at(1.99))) / 0.02;
    expect(Math.abs(slope - measured)).toBeLessThan(0.01 * Math.max(1, Math.abs(slope))); // differences of float32 logits
    expect(Math.abs(slope)).toBeGreaterThan(0.05);
  });

  it("adds the difference of two prompts token by token", async () => {
    const [plus, minus] = [clean.slice(0, 3), corrupt.slice(3, 6)];
    const view = await activationAddition(model, { positive: plus, negative: minus, site, strength: 4, from: 1 });
    const [a, b, before] = [
      await tokensOf(model, plus, site),
      await tokensOf(model, minus, site),
      await tokensOf(model, clean, site),
    ];
    const wanted = before.map((x, p) => {
      const [own, other] = [a[p - 1], b[p - 1]];
      if (own === undefined || other === undefined) return x;
      return x.map((value, i) => Math.fround(value + Math.fround(4 * ((own[i] as number) - (other[i] as number)))));
    });
    expect(await tokensOf(view, clean, site)).toEqual(wanted);
    const addition = { positive: plus, negative: minus, site };
    await expect(activationAddition(model, { ...addition, negative: clean })).rejects.toThrow(/pad the shorter/);
    await expect(activationAddition(model, { ...addition, from: -1 })).rejects.toThrow(/at least 0/);
    await expect(activationAddition(model, { ...addition, site: "layers.*.residPost" })).rejects.toThrow(/name one/);
  });

  it.each([
    [{ mode: "push" as "add" }, /the mode is one of/],
    [{ strength: Number.NaN }, /finite/],
    [{ strength: [1, 2] }, /2 strengths were given for 1/],
    [{ positions: 1.5 }, /positions must be/],
    [
      { when: { vector: { site: "layers.1.residPost" }, threshold: 0 } as SteerOptions["when"] & object },
      /use conditionalSteering/,
    ],
  ] satisfies [SteerOptions, RegExp][])("refuses %o", (options, message) => {
    expect(() => steer(model, vectorAt(site), options)).toThrow(message);
  });

  it("refuses vectors that do not fit", () => {
    const vector = vectorAt(site);
    expect(() => steer(model, [])).toThrow(/no vector/);
    expect(() => steer(model, { ...vector, site: "layers.9.residPost" })).toThrow(/layers 0 to/);
    expect(() => steer(model, { ...vector, site: "layers.0.attn.z" })).toThrow(/the vector has shape/);
    expect(() => steer(model, { ...vector, norm: 0 }, { mode: "remove" })).toThrow(/no direction/);
  });
});

/**
 * What `model.gradient` promises besides being right (test/gradients.test.ts holds it to PyTorch): shapes, padding, rows
 * that do not see each other, views, sessions, and identities that gradients obey.
 */
import { beforeAll, describe, expect, it } from "vitest";
import { worstRow } from "../../test/support/agreement.js";
import { openTiny, tinyPrompts } from "../../test/support/tinyModel.js";
import { mul, reduceSum, sub } from "../graph/index.js";
import { row, type Tensor, tensorOf, toNumbers } from "../runtime/index.js";
import { type ComputeContext, type Model, project, quantize, recordedRow, scale, set, zero } from "./index.js";

const { A, B, C } = tinyPrompts;
const of = "logit(#17) - logit(#3)";
const norm = (value: Tensor) => Math.hypot(...toNumbers(value));

describe("gradient", () => {
  let model: Model;
  beforeAll(async () => {
    model = await openTiny("llama-gqa");
  });

  it("has the shapes of the sites, the tokens, and one value a row", async () => {
    const found = await model.gradient([A, C], {
      of,
      at: ["embed", "layers.1.attn.{z,pattern}[:, 1, :, 2]", "logits[0, -1]"],
    });
    expect(Object.entries(found.sites).map(([name, { shape }]) => [name, shape])).toEqual([
      ["embed", [2, 9, 24]],
      ["layers.1.attn.pattern[:, 1, :, 2]", [2, 9]],
      ["layers.1.attn.z[:, 1, :, 2]", [2, 4]],
      ["logits[0, -1]", [61]],
    ]);
    expect(found.tokens.map((tokens) => tokens.map(({ id }) => id))).toEqual([A, C]);
    expect(found.values).toHaveLength(2);
    expect(found.model).toEqual(model.identity);
    const logits = toNumbers(found.sites["logits[0, -1]"] as Tensor);
    expect([logits[17], logits[3], logits.filter((x) => x !== 0).length]).toEqual([1, -1, 2]);
  });

  it("gives every row what it gives alone, and padding nothing", async () => {
    const at = ["embed", "layers.1.attn.scores", "layers.2.mlp.pre"];
    const together = await model.gradient([A, C, B], { of, at });
    for (const [r, prompt] of [A, C, B].entries()) {
      const alone = await model.gradient(prompt, { of, at });
      expect(together.values[r]).toBeCloseTo(alone.values[0] as number, 5);
      for (const site of ["embed", "layers.2.mlp.pre"]) {
        // Another batch is other kernels: the last bits of float32 differ.
        expect(worstRow(recordedRow(together, site, r), recordedRow(alone, site)).error, site).toBeLessThan(1e-4);
      }
    }
    const padded = row(together.sites.embed as Tensor, 1); // four tokens of nine
    expect(toNumbers(padded).subarray(0, 5 * 24)).toEqual(new Float64Array(5 * 24));
    expect(norm(padded)).toBeGreaterThan(0);
  });

  it("is the sum over rows for a metric of the whole batch", async () => {
    const sum = ({ metric }: ComputeContext) => reduceSum(metric(of), 0);
    const [whole, rows] = await Promise.all([
      model.gradient([A, C], { of: sum, at: "embed" }),
      model.gradient([A, C], { of, at: "embed" }),
    ]);
    expect(whole.sites.embed).toEqual(rows.sites.embed);
    expect(whole.values).toHaveLength(1);
    expect(whole.values[0]).toBeCloseTo((rows.values[0] as number) + (rows.values[1] as number), 5);
  });

  it("is linear in the metric", async () => {
    const at = "layers.0.residPost";
    const gradientOf = async (metric: string) => (await model.gradient(A, { of: metric, at })).sites[at] as Tensor;
    const [both, first, second] = await Promise.all(
      ["3*logit(#7) - 2*logit(#8)", "logit(#7)", "logit(#8)"].map(gradientOf),
    );
    const [a, b] = [toNumbers(first as Tensor), toNumbers(second as Tensor)];
    const combined = tensorOf(
      "float32",
      (both as Tensor).shape,
      a.map((x, i) => 3 * x - 2 * (b[i] as number)),
    );
    // Float32; gradients of single logits are a few times larger than their combination.
    expect(worstRow(both as Tensor, combined).error).toBeLessThan(1e-4);
  });

  it("names what a glob selects once, and residPre and residPost as one value", async () => {
    const { sites } = await model.gradient(A, {
      of,
      at: ["layers.*.residPost", "layers.1.residPost", "layers.1.residPre"],
    });
    expect(Object.keys(sites)).toEqual([
      "layers.0.residPost",
      "layers.1.residPost",
      "layers.2.residPost",
      "layers.1.residPre",
    ]);
    expect(sites["layers.1.residPre"]).toEqual(sites["layers.0.residPost"]);
  });

  it("goes through clamps as they are in force", async () => {
    const site = "layers.1.mlp.act";
    const at = [site, `${site}@before`];
    const read = async (view: Model) => {
      const { sites } = await view.gradient(A, { of, at });
      return at.map((name) => sites[name] as Tensor) as [Tensor, Tensor];
    };
    const [after, before] = await read(model.with(scale(`${site}[:, -1]`, -3)));
    const expected = toNumbers(after).map((x, i) => (i >= 8 * 40 ? -3 * x : x));
    expect(worstRow(before, tensorOf("float32", before.shape, expected)).error).toBeLessThan(1e-6);
    expect(norm(after)).toBeGreaterThan(0);

    const [, cut] = await read(model.with(zero(site)));
    expect(norm(cut)).toBe(0);
    const [, held] = await read(model.with(set(`${site}[:, -1]`, 1)));
    expect(toNumbers(held).subarray(8 * 40)).toEqual(new Float64Array(40));

    const direction = Float64Array.from({ length: 40 }, (_, i) => Math.sin(i + 1));
    const [whole, projected] = await read(model.with(project(site, direction)));
    const along = (value: Tensor) =>
      Math.abs(
        toNumbers(value)
          .subarray(8 * 40)
          .reduce((sum, x, i) => sum + x * (direction[i] as number), 0),
      );
    expect(along(projected)).toBeLessThan(1e-5 * norm(projected) * Math.hypot(...direction)); // float32 of 40 products
    expect(along(whole)).toBeGreaterThan(1e-2 * norm(whole));
  });

  it("follows rounding by its own rule, which is zero almost everywhere", async () => {
    const site = "layers.1.mlp.act";
    const { sites } = await model.with(quantize(site, 4)).gradient(A, { of, at: [site, `${site}@before`] });
    expect(norm(sites[site] as Tensor)).toBeGreaterThan(0);
    expect(toNumbers(sites[`${site}@before`] as Tensor).every(Number.isFinite)).toBe(true);
  });

  it("belongs to its view: other weights, other gradients", async () => {
    const zeros = new Float32Array(40 * 24);
    const view = model.withWeights({ "layers.2.mlp.down.weight": zeros });
    const { sites } = await view.gradient(A, { of, at: ["layers.2.mlp.act", "layers.1.residPost"] });
    expect(norm(sites["layers.2.mlp.act"] as Tensor)).toBe(0);
    const plain = await model.gradient(A, { of, at: "layers.1.residPost" });
    expect(
      worstRow(sites["layers.1.residPost"] as Tensor, plain.sites["layers.1.residPost"] as Tensor).error,
    ).toBeGreaterThan(0.01);
  });

  it("needs no other session for another prompt, token, position or part", async () => {
    await model.gradient([A, C], { of, at: ["layers.1.mlp.act[:, -1, 3]", "embed"], checkpoint: "layers.*.residPost" });
    const { sessionsOpened } = model.statistics();
    await model.gradient([C, B], {
      of: "2*logit(#1)[1] - 3*logit(#2)[1]",
      at: ["layers.1.mlp.act[:, 2, 7]", "embed"],
      checkpoint: "layers.*.residPost",
    });
    expect(model.statistics().sessionsOpened).toBe(sessionsOpened);
  });

  it("is the derivative of a function traced on top", async () => {
    // The gradient of x.y at x is y.
    const between = ({ at }: ComputeContext) => reduceSum(mul(at("layers.0.residPost", 1), at("finalNorm", 3)), 1);
    const site = "finalNorm";
    const { sites } = await model.gradient(A, { of: between, at: `${site}[:, 3]` });
    const { sites: recorded } = await model.record(A, "layers.0.residPost[:, 1]");
    expect(sites[`${site}[:, 3]`]).toEqual(recorded["layers.0.residPost[:, 1]"]);
    const none = ({ last }: ComputeContext) => reduceSum(sub(last("embed"), last("embed")), 1);
    expect(norm((await model.gradient(A, { of: none, at: "embed" })).sites.embed as Tensor)).toBe(0);
  });

  it.each([
    [{ of, at: [] }, "no site was asked for"],
    [{ of: "", at: "embed" }, '"" is not a metric'],
    [{ of, at: "layers.7.residPost" }, "layers.7.residPost"],
    [{ of, at: "embed[:, 9]" }, "9"],
    [{ of, at: "layers.0.attn.result" }, "take the gradient at attn.z or attn.out"],
    [{ of: "layers.0.mlp.act[:, -1, 1]", at: "layers.1.attn.q" }, "take the gradient at an earlier site"],
    [{ of, at: "embed", checkpoint: "nothing" }, "nothing"],
  ])("says what is wrong with %o", async (options, message) => {
    await expect(model.gradient(A, options)).rejects.toThrow(message);
  });

  it("refuses a prompt that is empty or too long", async () => {
    await expect(model.gradient([], { of, at: "embed" })).rejects.toThrow(/empty|no prompt|tokens/);
    await expect(model.gradient([Array(129).fill(5)], { of, at: "embed" })).rejects.toThrow(/128/);
  });
});

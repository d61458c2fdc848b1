/** Layer conductance: Captum's numbers, a finite-difference loop, completeness, identities, tiny checkpoints. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clean, corrupt } from "../../test/fixtures/explain/byHand.js";
import { captumCases, captumNetwork, element, float32 } from "../../test/fixtures/explain/networks.js";
import { openTiny } from "../../test/support/tinyModel.js";
import { type Model, set } from "../model/index.js";
import { createRuntime, type Runtime, type Tensor, toNumbers } from "../runtime/index.js";
import { promptBaseline } from "./baselines.js";
import { layerConductance } from "./conductance.js";
import type { DifferentiableFunction } from "./differentiable.js";
import { integratedGradients } from "./integrated.js";
import { modelFunction } from "./modelFunction.js";
import { networkFunction } from "./networkFunction.js";

const worst = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(...Array.from(a, (x, i) => Math.abs(x - (b[i] as number))));
const largest = (values: ArrayLike<number>) => Math.max(...Array.from(values, Math.abs));

describe("against Captum", () => {
  let runtime: Runtime;
  let f: DifferentiableFunction;
  const baseline = float32([2, 3], captumCases.baseline);
  beforeAll(async () => {
    runtime = createRuntime({ threads: 1 });
    const feeds = { x: float32([1, 2, 3], captumCases.x) };
    f = await networkFunction(captumNetwork(runtime), feeds, { of: element(captumCases.target), at: "x" });
  });
  afterAll(() => runtime.close());

  it("agrees unit by unit, and adds up to the difference", async () => {
    const found = await layerConductance(f, { hidden: "hidden", baseline });
    expect(found.conductance.shape).toEqual([2, 4]);
    // Captum takes differences of the hidden layer between 4,000 points, and gradients at one end of each.
    expect(worst(found.conductance.data, captumCases.conductance)).toBeLessThan(1e-3);
    expect(worst(found.conductance.data, [...captumCases.conductance].reverse())).toBeGreaterThan(0.1);
    expect(found.separates).toBe(true);
    expect(found.completeness.error).toBeLessThan(1e-5);
    expect(found.warning).toBeUndefined();
    expect(found.sums.data[0]).toBeCloseTo(
      found.conductance.data.slice(0, 4).reduce((a, b) => a + b, 0),
      5,
    );
  });

  it("at the explained tensor itself is integrated gradients", async () => {
    const [own, integrated] = [
      await layerConductance(f, { hidden: "x", baseline }),
      await integratedGradients(f, { baseline }),
    ];
    expect(worst(own.conductance.data, integrated.attributions.data)).toBeLessThan(1e-5);
  });

  it("through two layers in a row is the same for each unit where they differ by a function of that unit", async () => {
    const [pre, hidden] = [
      await layerConductance(f, { hidden: "pre", baseline }),
      await layerConductance(f, { hidden: "hidden", baseline }),
    ];
    expect(worst(pre.conductance.data, hidden.conductance.data)).toBeLessThan(1e-5); // the chain rule, unit by unit
  });

  it("warns where steps are too few", async () => {
    const rough = await layerConductance(f, { hidden: "hidden", baseline, steps: 1, maxSteps: 1 });
    expect(rough.warning).toMatch(/after 1 steps/);
  });

  it("refuses sites where nothing flows", async () => {
    await expect(layerConductance(f, { hidden: "nothing" })).rejects.toThrow(/no site "nothing"/);
    const behind = await networkFunction(
      captumNetwork(runtime),
      { x: float32([1, 2, 3], captumCases.x) },
      { of: element(captumCases.target), at: "hidden" },
    );
    await expect(layerConductance(behind, { hidden: "pre" })).rejects.toThrow(/pre does not depend on hidden/);
  });
});

describe.each(["llama-gqa", "gpt2"])("in %s", (name) => {
  const of = "logit(#7) - logit(#12)";
  let model: Model;
  let f: DifferentiableFunction;
  let baseline: Tensor;
  beforeAll(async () => {
    model = await openTiny(name);
    f = await modelFunction(model, clean, { of });
    baseline = await promptBaseline(model, corrupt);
  });

  it("is complete at every residual stream, and knows where it is not to be", async () => {
    for (const hidden of ["embed", "layers.0.residPost", "layers.1.residMid", "finalNorm"]) {
      const found = await layerConductance(f, { hidden, baseline });
      expect(found.separates).toBe(true);
      expect(found.completeness.error).toBeLessThan(1e-3); // Gauss and Legendre's 32 points on a smooth path, float32 values
      expect(found.conductance.shape).toEqual(f.at.shape);
      expect(found.tokens?.map(({ id }) => id)).toEqual(clean);
    }
    const beside = await layerConductance(f, { hidden: "layers.0.mlp.act", baseline });
    expect(beside.separates).toBe(false);
    expect(beside.completeness.error).toBeGreaterThan(1e-3);
    expect(beside.warning).toBeUndefined();
  });

  it("carries as much into a branch as out of it, and not all", async () => {
    // Nothing enters or leaves an MLP between its input and its output.
    const [stream, out, into] = [
      await layerConductance(f, { hidden: "layers.0.residPost", baseline }),
      await layerConductance(f, { hidden: "layers.0.mlp.out", baseline }),
      await layerConductance(f, { hidden: "layers.0.mlp.in", baseline }),
    ];
    const size = Math.abs(stream.completeness.difference);
    expect(Math.abs(out.completeness.sum - into.completeness.sum)).toBeLessThan(1e-3 * size);
    expect(Math.abs(out.completeness.sum - stream.completeness.sum)).toBeGreaterThan(1e-2 * size);
  });

  it("agrees with a loop over finite differences of the hidden site", async () => {
    const hidden = "layers.0.mlp.act";
    const found = await layerConductance(f, { hidden, baseline });
    const [x, b] = [toNumbers(f.at), toNumbers(baseline)];
    const count = 50;
    const at = (share: number) =>
      model.with(
        set(
          "embed",
          float32(
            [1, ...f.at.shape],
            x.map((value, i) => (1 - share) * (b[i] as number) + share * value),
          ),
        ),
      );
    const hiddenAt = async (share: number) =>
      toNumbers((await at(share).record(clean, hidden)).sites[hidden] as Tensor);
    const wanted = new Float64Array(found.conductance.data.length);
    for (let k = 0; k < count; k++) {
      const [before, after] = [await hiddenAt(k / count), await hiddenAt((k + 1) / count)];
      const { sites } = await at((k + 0.5) / count).gradient(clean, { of, at: hidden });
      const gradient = toNumbers(sites[hidden] as Tensor);
      for (let i = 0; i < wanted.length; i++)
        (wanted[i] as number) += (gradient[i] as number) * ((after[i] as number) - (before[i] as number));
    }
    const size = largest(wanted);
    expect(worst(found.conductance.data, wanted)).toBeLessThan(5e-3 * size); // second order in 1/50, float32 differences
    expect(worst(found.conductance.data, [...wanted].reverse())).toBeGreaterThan(0.1 * size);
  });

  it("gives nothing to positions before the token that changed", async () => {
    const found = await layerConductance(f, { hidden: "layers.0.residPost", baseline });
    expect([...found.sums.data.slice(0, 4)]).toEqual([0, 0, 0, 0]);
    expect(largest(found.sums.data.slice(4))).toBeGreaterThan(0);
  });

  it("refuses parts, several sites, and sites that can't be clamped", async () => {
    const part = await modelFunction(model, clean, { of, at: "embed[:, 4]" });
    await expect(layerConductance(part, { hidden: "layers.0.residPost" })).rejects.toThrow(
      /whole site of single tokens/,
    );
    await expect(layerConductance(f, { hidden: "layers.*.residPost" })).rejects.toThrow(/stands for/);
    await expect(layerConductance(f, { hidden: "layers.0.attn.result" })).rejects.toThrow(/recorded and not clamped/);
  });
});

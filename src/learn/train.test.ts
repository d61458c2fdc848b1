/**
 * Training: the same numbers however steps are cut into calls, killed, resumed, recorded or checkpointed; and errors that
 * say where the numbers went wrong.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { add, dropout, log, matmul, mul, reduceMax, relu, sub, type Value } from "../graph/index.js";
import { createRuntime, random, type Tensor, tensorOf } from "../runtime/index.js";
import { readCheckpoint } from "./checkpoint.js";
import { adam, crossEntropy, loadTrainingRecording, saveTrainingRecording, sgd } from "./index.js";
import { type StepDefinition, trainingStep } from "./step.js";
import { train } from "./train.js";

const folder = mkdtempSync(join(tmpdir(), "train-"));
const runtime = createRuntime();
afterAll(async () => {
  await runtime.close();
  rmSync(folder, { recursive: true });
});
let folders = 0;
const freshFolder = () => join(folder, `run-${folders++}`);

const draw = random(1);
const matrix = (rows: number, columns: number) =>
  tensorOf(
    "float32",
    [rows, columns],
    Float32Array.from({ length: rows * columns }, () => draw.normal() / Math.sqrt(rows)),
  );
const layer = (inputs: number, outputs: number) => ({
  weight: matrix(inputs, outputs),
  bias: tensorOf("float32", [outputs], new Float32Array(outputs)),
});
const parameters = { a: layer(20, 16), b: layer(16, 16), c: layer(16, 5) };
type P = typeof parameters;

const dense = (p: { readonly weight: Value; readonly bias: Value }, x: Value) => add(matmul(x, p.weight), p.bias);

function makeStep(changes: Partial<StepDefinition<P>> = {}) {
  return trainingStep<P>({
    parameters,
    batch: { x: { dtype: "float32", shape: [12, 20] }, y: { dtype: "int64", shape: [12] } },
    loss(p, { x, y }, { site, key }) {
      const h1 = site("h1", relu(dense(p.a, x as Value)));
      const h2 = site("h2", dropout(relu(dense(p.b, h1)), 0.1, key));
      const logits = site("out", dense(p.c, h2));
      return { loss: crossEntropy(logits, y as Value), metrics: { largest: reduceMax(logits, [0, 1]) } };
    },
    optimizer: adam({ rate: 0.01 }),
    ...changes,
  });
}

function data(step: number) {
  const own = random(7, step);
  return {
    x: tensorOf(
      "float32",
      [12, 20],
      Float32Array.from({ length: 240 }, () => own.uniform()),
    ),
    y: tensorOf(
      "int64",
      [12],
      Array.from({ length: 12 }, () => own.integer(5)),
    ),
  };
}

const record = { sites: ["h1[0]", "out"], every: 10 };
const numbersOf = (state: Iterable<readonly [string, Tensor]>) =>
  [...state].map(([name, x]) => [name, Array.from(x.data as Float32Array)]);

describe("train", () => {
  it("gives the same bits however many steps a call holds", async () => {
    const whole = await train(makeStep(), data, { steps: 60, runtime });
    for (const stepsPerCall of [1, 7, 60]) {
      const other = await train(makeStep(), data, { steps: 60, stepsPerCall, runtime });
      expect(numbersOf(other.state)).toEqual(numbersOf(whole.state));
      expect(other.history).toEqual(whole.history);
    }
    expect(whole.history.get("loss")).toHaveLength(60);
    expect(whole.history.get("metric.largest")).toHaveLength(60);
  });

  it("learns, and another seed gives other numbers", async () => {
    const same = data(0);
    const fitted = await train(makeStep(), () => same, { steps: 300, runtime });
    expect(fitted.history.get("loss")?.at(-1)).toBeLessThan(0.2);
    const [one, two] = [
      await train(makeStep(), data, { steps: 5, runtime }),
      await train(makeStep(), data, { steps: 5, seed: 1, runtime }),
    ];
    expect(numbersOf(one.state)).not.toEqual(numbersOf(two.state)); // dropout draws by the seed
  });

  it("goes on from a checkpoint bit for bit, recording included", async () => {
    const whole = await train(makeStep(), data, { steps: 100, record, runtime });
    const checkpoint = { folder: freshFolder(), every: 20 };
    for (const stop of [33, 34, 75]) {
      const controller = new AbortController();
      const part = await train(makeStep(), data, {
        steps: 100,
        checkpoint,
        record,
        runtime,
        stepsPerCall: 4,
        signal: controller.signal,
        onStep: ({ step }) => step >= stop && controller.abort(),
      });
      expect(part.stopped).toBe(true);
      expect(part.step).toBeLessThan(stop + 10);
    }
    const rest = await train(makeStep(), data, { steps: 100, checkpoint, record, runtime });
    expect(rest.stopped).toBe(false);
    expect(numbersOf(rest.state)).toEqual(numbersOf(whole.state));
    expect(rest.history).toEqual(whole.history);
    expect(rest.recording).toEqual(whole.recording);
    expect(whole.recording?.steps).toEqual([0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
    expect(whole.recording?.sites.out?.shape).toEqual([10, 12, 5]);
    expect(whole.recording?.sites["h1[0]"]?.shape).toEqual([10, 16]);
  });

  it("records what a step of that state computes, in its batch or in a probe", async () => {
    const probe = data(1000);
    const { recording } = await train(makeStep(), data, {
      steps: 30,
      record: { sites: "h1", at: [0, 13, 29], probe },
      runtime,
    });
    expect(recording?.steps).toEqual([0, 13, 29]);
    const [before] = [parameters.a];
    const wanted = Array.from({ length: 16 }, (_, j) => {
      const sum = before.weight.data.reduce(
        (all, w, i) => (i % 16 === j ? all + w * (probe.x.data[Math.floor(i / 16)] as number) : all),
        0,
      );
      return Math.max(0, sum);
    });
    const found = recording?.sites.h1?.data as Float32Array;
    wanted.forEach((x, j) => {
      expect(Math.abs(x - (found[j] as number))).toBeLessThan(1e-6); // a float32 product of 20 terms
    });
    const own = await train(makeStep(), data, {
      steps: 30,
      record: { sites: "h1", at: [13], probe: data(13) },
      runtime,
    });
    const inBatch = await train(makeStep(), data, { steps: 30, record: { sites: "h1", at: [13] }, runtime });
    expect(own.recording).toEqual(inBatch.recording);
  });

  it("saves and loads recordings", async () => {
    const { recording } = await train(makeStep(), data, { steps: 20, record, runtime });
    const path = join(folder, "recording.safetensors");
    await saveTrainingRecording(recording as NonNullable<typeof recording>, path);
    expect(await loadTrainingRecording(path)).toEqual(recording);
  });

  it("clamps sites in training", async () => {
    const still = await train(makeStep({ edits: [{ site: "h1", apply: (x) => mul(x, 0) }] }), data, {
      steps: 10,
      runtime,
    });
    expect(still.parameters.a.weight.data).toEqual(parameters.a.weight.data); // no gradient passes a site held at zero
    expect(still.parameters.c.bias.data).not.toEqual(parameters.c.bias.data);
  });

  it("freezes, clips, averages, accumulates, and recomputes", async () => {
    const plain = await train(makeStep(), data, { steps: 20, runtime });
    const frozen = await train(makeStep({ frozen: (name) => name.startsWith("a.") }), data, { steps: 20, runtime });
    expect(frozen.parameters.a).toEqual(parameters.a);
    expect([...frozen.state.keys()].some((name) => name.includes(".a."))).toBe(false);
    const recomputed = await train(makeStep({ rematerialise: ["h1", "h2"] }), data, { steps: 20, runtime });
    expect(numbersOf(recomputed.state)).toEqual(numbersOf(plain.state));
    const clipped = await train(makeStep({ clip: { norm: 1e-3 }, optimizer: sgd({ rate: 1 }) }), data, {
      steps: 1,
      runtime,
    });
    const moved = [...clipped.state].flatMap(([name, x]) =>
      name.startsWith("parameters.") ? Array.from(x.data as Float32Array, (value, i) => value - startOf(name, i)) : [],
    );
    expect(Math.hypot(...moved)).toBeCloseTo(1e-3, 5);
    const averaged = await train(makeStep({ average: 0.5, optimizer: sgd({ rate: 0.1 }) }), data, {
      steps: 1,
      runtime,
    });
    averaged.average?.c.bias.data.forEach((x, i) => {
      expect(x).toBeCloseTo((averaged.parameters.c.bias.data[i] as number) / 2, 6);
    });
  });

  it("accumulates gradients over parts as if they were one batch", async () => {
    const loss: StepDefinition<P>["loss"] = (p, { x, y }) =>
      crossEntropy(dense(p.c, relu(dense(p.b, relu(dense(p.a, x as Value))))), y as Value);
    const [one, many] = [
      await train(makeStep({ loss, optimizer: sgd({ rate: 0.1 }) }), data, { steps: 20, runtime }),
      await train(makeStep({ loss, optimizer: sgd({ rate: 0.1 }), accumulate: 3 }), data, { steps: 20, runtime }),
    ];
    one.parameters.a.weight.data.forEach((x, i) => {
      expect(Math.abs(x - (many.parameters.a.weight.data[i] as number))).toBeLessThan(1e-6); // sums in another order
    });
  });

  it("keeps activations in 8 bits for the gradient: the loss is exact, the gradient nearly", async () => {
    const [exact, rounded] = [
      await train(makeStep({ optimizer: sgd({ rate: 1 }) }), data, { steps: 1, runtime }),
      await train(makeStep({ optimizer: sgd({ rate: 1 }), storeIn8Bits: ["h1"] }), data, { steps: 1, runtime }),
    ];
    expect(rounded.history.get("loss")).toEqual(exact.history.get("loss"));
    const gradient = (trained: typeof exact) =>
      trained.parameters.b.weight.data.map((x, i) => (parameters.b.weight.data[i] as number) - x);
    const [a, b] = [gradient(exact), gradient(rounded)];
    const apart = Math.hypot(...a.map((x, i) => x - (b[i] as number))) / Math.hypot(...a);
    expect(apart).toBeGreaterThan(1e-5);
    expect(apart).toBeLessThan(0.02); // half a step of 1/127 of each row's largest
  });

  it("carries state that the forward pass moves", async () => {
    const step = trainingStep({
      parameters: { w: tensorOf("float32", [], [2]) },
      state: { sum: tensorOf("float32", [], [1]) },
      batch: { x: { dtype: "float32", shape: [] } },
      loss: ({ w }, { x }, _, { sum }) => ({ loss: mul(w, x as Value), state: { sum: add(sum, x as Value) } }),
      optimizer: sgd({ rate: 0 }),
    });
    const { state } = await train(step, (i) => ({ x: tensorOf("float32", [], [i]) }), { steps: 5, runtime });
    expect(state.get("state.sum")?.data[0]).toBe(1 + 0 + 1 + 2 + 3 + 4);
  });

  it("measures on the way", async () => {
    const { history } = await train(makeStep(), data, {
      steps: 25,
      validate: { every: 10, run: async (_, step) => ({ twice: 2 * step }) },
      runtime,
    });
    expect(history.get("validation.step")).toEqual([10, 20, 25]);
    expect(history.get("validation.twice")).toEqual([20, 40, 50]);
  });
});

function startOf(name: string, index: number): number {
  const [, part, kind] = name.split(".") as [string, keyof P, "weight" | "bias"];
  return parameters[part][kind].data[index] as number;
}

describe("what goes wrong in training", () => {
  const failing = (run: () => Promise<unknown>) =>
    run().then(
      () => "no error",
      (error: Error) => error.message,
    );

  it("a diverging loss: the step, the first value, and the checkpoint that is whole", async () => {
    const checkpoint = { folder: freshFolder(), every: 1 };
    const message = await failing(() =>
      train(makeStep({ optimizer: sgd({ rate: 1e25 }) }), data, { steps: 50, checkpoint, runtime }),
    );
    expect(message).toMatch(/left the finite numbers at step 2: the first is site h2/);
    expect(message).toContain("the checkpoint of step 1");
    const kept = await readCheckpoint(checkpoint.folder);
    expect(kept?.step).toBe(1);
    expect(
      [...(kept?.state.values() ?? [])].every(({ data: values }) => (values as Float32Array).every(Number.isFinite)),
    ).toBe(true);
  });

  it("a batch that is not finite", async () => {
    const broken = (step: number) => {
      const batch = data(step);
      if (step === 7) batch.x.data[3] = Number.NaN;
      return batch;
    };
    expect(await failing(() => train(makeStep(), broken, { steps: 50, runtime }))).toMatch(
      /at step 8: the first is the batch's "x"/,
    );
  });

  it("a loss that is not finite", async () => {
    const loss: StepDefinition<P>["loss"] = (p, { x, y }) =>
      add(
        crossEntropy(dense(p.c, dense(p.b, dense(p.a, x as Value))), y as Value),
        mul(log(sub(reduceMax(x as Value, [0, 1]), 2)), 0),
      );
    expect(await failing(() => train(makeStep({ loss }), data, { steps: 5, runtime }))).toMatch(
      /at step 1: the first is the loss/,
    );
  });

  it("batches, records and numbers that don't fit", async () => {
    const short = () => ({ ...data(0), y: tensorOf("int64", [11], new Array(11).fill(0)) });
    expect(await failing(() => train(makeStep(), short, { steps: 5, runtime }))).toMatch(
      /step 0: "y" is int64\[11\]; the step was made for int64\[12\]/,
    );
    expect(await failing(() => train(makeStep(), () => ({ x: data(0).x }), { steps: 5, runtime }))).toMatch(
      /has no "y"/,
    );
    expect(
      await failing(() => train(makeStep(), data, { steps: 5, record: { sites: "h3", every: 1 }, runtime })),
    ).toMatch(/no site "h3"; it has h1, h2, out/);
    expect(
      await failing(() => train(makeStep(), data, { steps: 5, record: { sites: "h1[99]", every: 1 }, runtime })),
    ).toMatch(/99 is out of range/);
    expect(await failing(() => train(makeStep(), data, { steps: 5, record: { sites: "h1" }, runtime }))).toMatch(
      /one of `every` and `at`/,
    );
    expect(await failing(() => train(makeStep(), data, { steps: -1, runtime }))).toMatch(
      /steps must be a whole number/,
    );
    expect(() => makeStep({ accumulate: 5 })).toThrow(/into 5 parts; "x" has shape \[12, 20\]/);
    expect(() => makeStep({ frozen: () => true })).toThrow(/every parameter is frozen/);
    expect(() => makeStep({ loss: (p) => reduceMax(p.a.weight, [0, 1]) })).toThrow(
      /does not depend on a.bias, b.weight/,
    );
    expect(() => makeStep({ loss: (_, { x }) => x as Value })).toThrow(
      /a loss is one float32 number; this is float32\[12, 20\]/,
    );
  });

  it("another run's checkpoint, and a damaged one", async () => {
    const checkpoint = { folder: freshFolder(), every: 5 };
    await train(makeStep(), data, { steps: 5, checkpoint, runtime });
    expect(await failing(() => train(makeStep({ average: 0.9 }), data, { steps: 9, checkpoint, runtime }))).toMatch(
      /belongs to another run/,
    );
    expect(await failing(() => train(makeStep(), data, { steps: 9, seed: 3, checkpoint, runtime }))).toMatch(
      /belongs to another run/,
    );
    const path = join(checkpoint.folder, readdirSync(checkpoint.folder)[0] as string);
    const bytes = readFileSync(path);
    writeFileSync(path, bytes.subarray(0, bytes.length - 100));
    expect(await failing(() => train(makeStep(), data, { steps: 9, checkpoint, runtime }))).toContain(path);
  });
});

/**
 * Handwritten digits and a small convolutional network: two convolutions, two poolings, two dense layers. It reaches 97.5%
 * on held-out digits in about a minute, and 98% with augmentation.
 */
import { affine, batches, digits, takeRows } from "../../data/index.js";
import { type MarkSite, maxPool, relu, reshape, trace, type Value } from "../../graph/index.js";
import { type Runtime, random, type Tensor } from "../../runtime/index.js";
import { accuracy, crossEntropy } from "../losses/index.js";
import { convolutionParameters, convolve, dense, denseParameters } from "../modules/index.js";
import { adam, cosineDecay, warmup } from "../optimizers/index.js";
import { flatten, rebuild, type Traced } from "../parameters.js";
import { trainingStep } from "../step.js";
import type { PreparedRecipe, Recipe, RecipeOptions } from "./recipe.js";

const size = 128;

/** The parameters of the network. */
export function digitParameters(seed = 0) {
  const draw = random(seed);
  return {
    conv1: convolutionParameters(draw, { inputs: 1, outputs: 16, kernel: [3, 3] }),
    conv2: convolutionParameters(draw, { inputs: 16, outputs: 32, kernel: [3, 3] }),
    dense: denseParameters(draw, { inputs: 32 * 7 * 7, outputs: 128 }),
    out: denseParameters(draw, { inputs: 128, outputs: 10 }),
  };
}

export type DigitParameters = ReturnType<typeof digitParameters>;

/** Logits [batch, 10] of pictures [batch, 1, 28, 28]; sites `conv1`, `conv2`, `dense`, `logits`. */
export function digitNetwork(p: Traced<DigitParameters>, x: Value, site: MarkSite = (_, value) => value): Value {
  const first = maxPool(site("conv1", relu(convolve(p.conv1, x, { pads: 1 }))), 2);
  const second = maxPool(site("conv2", relu(convolve(p.conv2, first, { pads: 1 }))), 2);
  const hidden = site("dense", relu(dense(p.dense, reshape(second, [x.shape[0] ?? 1, 32 * 7 * 7]))));
  return site("logits", dense(p.out, hidden));
}

export interface DigitOptions extends RecipeOptions {
  /** Shifted, turned and scaled a little, anew for every batch. Off unless given. */
  readonly augmented?: boolean;
}

async function prepare({
  seed = 0,
  steps = 600,
  augmented = false,
  ...source
}: DigitOptions = {}): Promise<PreparedRecipe<DigitParameters>> {
  const { train, test } = await digits(source);
  const change = augmented ? { augment: affine({ shift: 2, rotate: 10, scale: [0.9, 1.1] }) } : {};
  return {
    steps,
    batches: batches({ x: train.x, label: train.label }, { size, seed, ...change }),
    step: trainingStep<DigitParameters>({
      parameters: digitParameters(seed),
      batch: { x: { dtype: "float32", shape: [size, 1, 28, 28] }, label: { dtype: "int64", shape: [size] } },
      loss(p, { x, label }, { site }) {
        const logits = digitNetwork(p, x as Value, site);
        return {
          loss: crossEntropy(logits, label as Value),
          metrics: { accuracy: accuracy(logits, label as Value) },
        };
      },
      optimizer: adam({ rate: warmup(20, cosineDecay(3e-3, steps - 20)) }),
    }),
    measure: (parameters, runtime) => accuracyOn(parameters, test, runtime),
  };
}

/** The share of pictures whose digit has the largest logit. */
async function accuracyOn(
  parameters: DigitParameters,
  { x, label }: { readonly x: Tensor; readonly label: Tensor },
  runtime: Runtime,
): Promise<{ readonly accuracy: number }> {
  const rows = 500;
  const weights = flatten(parameters);
  const graph = trace(
    ({ x: pictures, label: labels, ...values }) => {
      const own = rebuild(parameters, new Map(Object.entries<Value>(values)));
      return { share: accuracy(digitNetwork(own, pictures as Value), labels as Value) };
    },
    {
      x: { dtype: "float32", shape: [rows, 1, 28, 28] },
      label: { dtype: "int64", shape: [rows] },
      ...Object.fromEntries([...weights].map(([name, { dtype, shape }]) => [name, { dtype, shape }])),
    },
  );
  const program = runtime.compile(graph, { weights: "fed", values: new Map() });
  const count = x.shape[0] as number;
  let sum = 0;
  for (let at = 0; at + rows <= count; at += rows) {
    const part = Array.from({ length: rows }, (_, i) => at + i);
    const { share } = await program.run({
      x: takeRows(x, part),
      label: takeRows(label, part),
      ...Object.fromEntries(weights),
    });
    sum += share?.data[0] as number;
  }
  return { accuracy: sum / Math.floor(count / rows) };
}

/** The recipe; `prepare({ augmented: true })` for the better one. */
export const digitsRecipe: Recipe<DigitParameters> & {
  readonly prepare: (options?: DigitOptions) => Promise<PreparedRecipe<DigitParameters>>;
} = {
  name: "digits",
  title: "handwritten digits, a small convolutional network",
  prepare,
};

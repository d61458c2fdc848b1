/** State-space layers over x [batch, time, width]: a diagonal linear one, and one whose steps depend on the input. */
import {
  add,
  cast,
  constant,
  convolution,
  cos,
  div,
  exp,
  gather,
  type MarkSite,
  matmul,
  mul,
  neg,
  range,
  reduceSum,
  reshape,
  scan,
  select,
  sin,
  slice,
  softplus,
  sub,
  transpose,
  unsqueeze,
  type Value,
  zerosLike,
} from "../../graph/index.js";
import { type Random, type Tensor, tensorOf } from "../../runtime/index.js";
import { initialisers } from "../initialisers.js";
import type { Traced } from "../parameters.js";

type T = Tensor<"float32">;

/**
 * A diagonal state-space layer (S4D, Gu et al. 2022; its S4D-Lin start): for each channel, `states` complex modes with
 * decay -exp(logDecay) and frequency `frequency`, read out by `outReal` + i `outImaginary`; `logStep` [width] is the log
 * of the time of a step, `skip` [width] what goes by.
 */
export interface S4dParameters {
  readonly [key: string]: T;
  readonly logStep: T;
  readonly logDecay: T;
  readonly frequency: T;
  readonly outReal: T;
  readonly outImaginary: T;
  readonly skip: T;
}

export function s4dParameters(
  random: Random,
  {
    width,
    states = 32,
    steps = [0.001, 0.1],
  }: { readonly width: number; readonly states?: number; readonly steps?: readonly [number, number] },
): S4dParameters {
  const [least, most] = steps.map(Math.log) as [number, number];
  const grid = (value: (n: number) => number) =>
    tensorOf(
      "float32",
      [width, states],
      Float32Array.from({ length: width * states }, (_, i) => value(i % states)),
    );
  return {
    logStep: tensorOf(
      "float32",
      [width],
      Float32Array.from({ length: width }, () => least + random.uniform() * (most - least)),
    ),
    logDecay: grid(() => Math.log(0.5)),
    frequency: grid((n) => Math.PI * n),
    outReal: initialisers.normal(Math.SQRT1_2)(random, [width, states]),
    outImaginary: initialisers.normal(Math.SQRT1_2)(random, [width, states]),
    skip: initialisers.normal(1)(random, [width]),
  };
}

/**
 * The layer as a causal convolution with its kernel, computed as one product with the kernel's Toeplitz matrix: fit for
 * sequences up to some thousand steps. Discretised by zero-order hold. Site `kernel` is [width, time].
 */
export function s4d(
  parameters: Traced<S4dParameters>,
  x: Value,
  { site = (_, v) => v }: { readonly site?: MarkSite } = {},
): Value {
  const p = parameters as Readonly<Record<keyof S4dParameters & string, Value>>;
  const time = x.shape[1] as number;
  const step = unsqueeze(exp(p.logStep as Value), 1);
  const decay = exp(p.logDecay as Value);
  const real = neg(mul(step, decay));
  const imaginary = mul(step, p.frequency as Value);
  // (exp(dt A) - 1) / A, times the readout
  const grown = exp(real);
  const top: Complex = [sub(mul(grown, cos(imaginary)), 1), mul(grown, sin(imaginary))];
  const [aReal, aImaginary] = [neg(decay), p.frequency as Value];
  const square = add(mul(aReal, aReal), mul(aImaginary, aImaginary));
  const held = times(top, [div(aReal, square), neg(div(aImaginary, square))]);
  const [cReal, cImaginary] = times([p.outReal as Value, p.outImaginary as Value], held);
  const at = reshape(cast(range(time), "float32"), [1, 1, time]);
  const envelope = exp(mul(unsqueeze(real, 2), at));
  const angle = mul(unsqueeze(imaginary, 2), at);
  const modes = mul(envelope, sub(mul(unsqueeze(cReal, 2), cos(angle)), mul(unsqueeze(cImaginary, 2), sin(angle))));
  const kernel = site("kernel", mul(reduceSum(modes, [1]), 2));
  return add(causalConvolution(kernel, x), mul(x, p.skip as Value));
}

type Complex = readonly [Value, Value];

const times = ([a, b]: Complex, [c, d]: Complex): Complex => [sub(mul(a, c), mul(b, d)), add(mul(a, d), mul(b, c))];

/** y[t] = sum over s <= t of kernel[t - s] x[s], channel by channel; kernel [width, time], x [batch, time, width]. */
function causalConvolution(kernel: Value, x: Value): Value {
  const [width, time] = kernel.shape as readonly [number, number];
  const backwards = constant(
    tensorOf(
      "int64",
      [time],
      Array.from({ length: time }, (_, i) => time - 1 - i),
    ),
  );
  const weights = unsqueeze(gather(kernel, backwards, 1), 1);
  const made = convolution(transpose(x, [0, 2, 1]), weights, { groups: width, pads: [time - 1, 0] });
  return transpose(made, [0, 2, 1]);
}

/**
 * A selective state-space layer (Mamba, Gu & Dao 2023, algorithm 2): `states` modes for each channel with decay
 * -exp(logDecay) [width, states]; step, input and output of the modes are made from x at each time.
 */
export interface SelectiveScanParameters {
  readonly [key: string]: T;
  /** [width, rank + 2 states] */
  readonly project: T;
  /** [rank, width] and [width]: the time of a step, before softplus. */
  readonly step: T;
  readonly stepBias: T;
  readonly logDecay: T;
  readonly skip: T;
}

export function selectiveScanParameters(
  random: Random,
  {
    width,
    states = 16,
    rank = Math.ceil(width / 16),
  }: { readonly width: number; readonly states?: number; readonly rank?: number },
): SelectiveScanParameters {
  const decays = Float32Array.from({ length: width * states }, (_, i) => Math.log(1 + (i % states)));
  const first = () => Math.exp(Math.log(0.001) + random.uniform() * (Math.log(0.1) - Math.log(0.001)));
  return {
    project: initialisers.lecunNormal()(random, [width, rank + 2 * states]),
    step: initialisers.lecunNormal()(random, [rank, width]),
    stepBias: tensorOf(
      "float32",
      [width],
      Float32Array.from({ length: width }, () => Math.log(Math.expm1(first()))),
    ),
    logDecay: tensorOf("float32", [width, states], decays),
    skip: tensorOf("float32", [width], new Float32Array(width).fill(1)),
  };
}

/** The selective scan of x [batch, time, width]; site `state` is [time, batch, width, states]. */
export function selectiveScan(
  parameters: Traced<SelectiveScanParameters>,
  x: Value,
  { site = (_, v) => v }: { readonly site?: MarkSite } = {},
): Value {
  const p = parameters as Readonly<Record<keyof SelectiveScanParameters & string, Value>>;
  const [, states] = (p.logDecay as Value).shape as readonly [number, number];
  const rank = (p.step as Value).shape[0] as number;
  const made = matmul(x, p.project as Value);
  const cut = (from: number, to: number) => transpose(slice(made, 2, from, to), [1, 0, 2]);
  const step = softplus(add(matmul(cut(0, rank), p.step as Value), p.stepBias as Value)); // [time, batch, width]
  const [inputs, outputs] = [cut(rank, rank + states), cut(rank + states, rank + 2 * states)]; // [time, batch, states]
  const along = transpose(x, [1, 0, 2]);
  const decay = neg(exp(p.logDecay as Value));
  const kept = exp(mul(unsqueeze(step, 3), decay)); // [time, batch, width, states]
  const fresh = mul(unsqueeze(mul(step, along), 3), unsqueeze(inputs, 2));
  const scanned = scan<{ h: Value }, { keep: Value; come: Value }, { h: Value }>(
    ({ h }, { keep, come }) => {
      const next = add(mul(keep, h), come);
      return { carry: { h: next }, outputs: { h: next } };
    },
    { carry: { h: zerosLike(select(fresh, 0, 0)) }, sequences: { keep: kept, come: fresh } },
  );
  const state = site("state", scanned.outputs.h);
  const read = reduceSum(mul(state, unsqueeze(outputs, 2)), [3]);
  return transpose(add(read, mul(along, p.skip as Value)), [1, 0, 2]);
}

/** Activation functions of neural networks. Attributes carry ONNX's names, and what is not given has ONNX's default. */
import { sameShape } from "../dims.js";
import type { Node, Value, ValueType } from "../graph.js";
import { abs, add, div, mul, sub } from "./arithmetic.js";
import { allBatched, broadcasting } from "./batching.js";
import { cast } from "./casting.js";
import { and, greater, less, where } from "./comparison.js";
import { floats } from "./dtypes.js";
import { applyOne, type Emitter, type Operation } from "./operation.js";
import { binaryOperation, type None, unary, unaryOperation } from "./pointwise.js";
import { erf, erfReference, exp, tanh } from "./transcendental.js";

type Approximate = "none" | "tanh";

/** The gradient `above` where x is positive, else `below`. */
const bySign = (x: Value, above: Value, below: Value | number): Value => where(greater(x, 0), above, below);

const softplusReference = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

const bounded = (x: number, low: number, high: number) => Math.min(Math.max(x, low), high);

const table = {
  sigmoid: unaryOperation(
    "sigmoid",
    "Sigmoid",
    (x) => 1 / (1 + Math.exp(-x)),
    (g, _, y) => mul(g, mul(y, sub(1, y))),
  ),
  relu: unaryOperation(
    "relu",
    "Relu",
    (x) => Math.max(x, 0),
    // y and not x, which need not be kept for it; a product, because the runtime's Where takes four times as long
    (g, _, y) => mul(g, cast(greater(y, 0), g.dtype)),
  ),
  silu: unaryOperation("silu", emitSilu, (x) => x / (1 + Math.exp(-x)), siluSlope),
  softplus: unaryOperation("softplus", "Softplus", softplusReference, (g, x) => mul(g, sigmoid(x))),
  softsign: unaryOperation(
    "softsign",
    "Softsign",
    (x) => x / (1 + Math.abs(x)),
    (g, x) => {
      const size = add(abs(x), 1);
      return div(g, mul(size, size));
    },
  ),
  hardSwish: unaryOperation("hardSwish", "HardSwish", (x) => x * bounded(x / 6 + 0.5, 0, 1), hardSwishSlope),
  mish: unaryOperation("mish", "Mish", (x) => x * Math.tanh(softplusReference(x)), mishSlope),
};

const withParameters = {
  gelu: unaryOperation<{ approximate: Approximate }>("gelu", "Gelu", geluReference, geluSlope),
  elu: unaryOperation<{ alpha: number }>(
    "elu",
    "Elu",
    (x, { alpha }) => (x > 0 ? x : alpha * Math.expm1(x)),
    (g, x, y, { alpha }) => bySign(x, g, mul(g, add(y, alpha))),
  ),
  selu: unaryOperation<{ alpha: number; gamma: number }>(
    "selu",
    "Selu",
    (x, { alpha, gamma }) => gamma * (x > 0 ? x : alpha * Math.expm1(x)),
    (g, x, y, { alpha, gamma }) => bySign(x, mul(g, gamma), mul(g, add(y, alpha * gamma))),
  ),
  celu: unaryOperation<{ alpha: number }>(
    "celu",
    "Celu",
    (x, { alpha }) => Math.max(0, x) + Math.min(0, alpha * Math.expm1(x / alpha)),
    (g, x, y, { alpha }) => bySign(x, g, mul(g, add(div(y, alpha), 1))),
  ),
  leakyRelu: unaryOperation<{ alpha: number }>(
    "leakyRelu",
    "LeakyRelu",
    (x, { alpha }) => (x < 0 ? alpha * x : x),
    (g, x, _, { alpha }) => bySign(x, g, mul(g, alpha)),
  ),
  thresholdedRelu: unaryOperation<{ alpha: number }>(
    "thresholdedRelu",
    "ThresholdedRelu",
    (x, { alpha }) => (x > alpha ? x : 0),
    (g, x, _, { alpha }) => where(greater(x, alpha), g, 0),
  ),
  hardSigmoid: unaryOperation<{ alpha: number; beta: number }>(
    "hardSigmoid",
    "HardSigmoid",
    (x, { alpha, beta }) => bounded(alpha * x + beta, 0, 1),
    (g, _, y, { alpha }) => where(and(greater(y, 0), less(y, 1)), mul(g, alpha), 0),
  ),
};

const anyPrelu = binaryOperation(
  "prelu",
  "PRelu",
  (x, slope) => (x < 0 ? slope * x : x),
  (g, x, slope) => [bySign(x, g, mul(g, slope)), where(greater(x, 0), 0, mul(g, x))],
  { takes: floats },
);

/** ONNX's operator broadcasts the slope to x alone. */
const preluOperation: Operation<None> = {
  ...anyPrelu,
  infer(inputs, attributes) {
    const [x] = inputs as readonly [ValueType];
    const results = anyPrelu.infer(inputs, attributes);
    if (!results.every(({ shape }) => sameShape(shape, x.shape))) throw new Error("the slope must broadcast to x");
    return results;
  },
  batch(inputs, batched, node) {
    if (batched[0]) return broadcasting(() => preluOperation as Operation)(inputs, batched, node);
    const all = allBatched(inputs, batched);
    return broadcasting(() => preluOperation as Operation)(all, [true, true], node);
  },
};

export const activationOperations = [...Object.values(table), ...Object.values(withParameters), preluOperation];

export const sigmoid = unary(table.sigmoid);
export const relu = unary(table.relu);
/** log(1 + exp(x)), without overflow. */
export const softplus = unary(table.softplus);
/** x / (1 + |x|). */
export const softsign = unary(table.softsign);
/** x times a clipped line from 0 at -3 to 1 at 3 (Howard et al. 2019, MobileNetV3). */
export const hardSwish = unary(table.hardSwish);
/** x tanh(softplus(x)) (Misra 2019). */
export const mish = unary(table.mish);

/** Gaussian error linear unit, exact or by the tanh approximation (Hendrycks & Gimpel 2016). */
export function gelu(x: Value, approximate: Approximate = "none"): Value {
  return applyOne(withParameters.gelu, [x], { approximate });
}

/** Exponential linear unit: x, or alpha (exp(x) - 1) where x is negative (Clevert et al. 2015). */
export function elu(x: Value, alpha = 1): Value {
  return applyOne(withParameters.elu, [x], { alpha });
}

/** What keeps mean 0 and variance 1 through layers, to float32 (Klambauer et al. 2017). */
const selfNormalising = { alpha: 1.6732631921768188, gamma: 1.0507010221481323 };

/** Scaled exponential linear unit, gamma elu(x, alpha): by its defaults the self-normalising one (Klambauer et al. 2017). */
export function selu(x: Value, { alpha, gamma }: { alpha: number; gamma: number } = selfNormalising): Value {
  return applyOne(withParameters.selu, [x], { alpha, gamma });
}

/** x, or alpha (exp(x / alpha) - 1) where x is negative: an exponential linear unit without a kink (Barron 2017). */
export function celu(x: Value, alpha = 1): Value {
  return applyOne(withParameters.celu, [x], { alpha });
}

/** x, or alpha x where x is negative. */
export function leakyRelu(x: Value, alpha = 0.01): Value {
  return applyOne(withParameters.leakyRelu, [x], { alpha });
}

/** x, or slope x where x is negative; the slope is a value that broadcasts to x, and is learned (He et al. 2015). */
export function prelu(x: Value, slope: Value): Value {
  return applyOne(preluOperation, [x, slope], {});
}

/** x where it is above alpha, else 0. */
export function thresholdedRelu(x: Value, alpha = 1): Value {
  return applyOne(withParameters.thresholdedRelu, [x], { alpha });
}

/** The line alpha x + beta, clipped to 0 and 1. */
export function hardSigmoid(x: Value, { alpha = 0.2, beta = 0.5 }: { alpha?: number; beta?: number } = {}): Value {
  return applyOne(withParameters.hardSigmoid, [x], { alpha, beta });
}

/** Sigmoid-weighted linear unit, x sigmoid(x) (Elfwing et al. 2018). */
export const silu = unary(table.silu);

/** cap tanh(x / cap): x itself near 0, and never beyond the cap (the soft cap of Gemma 2's logits). */
export function softcap(x: Value, cap: number): Value {
  return mul(tanh(div(x, cap)), cap);
}

/** Two nodes, of which the runtime makes one where nothing else reads the sigmoid; the gradient shares it. */
function emitSilu(node: Node, _: None, emitter: Emitter): void {
  const x = emitter.name(node.inputs[0] as Value);
  const [weight] = emitter.node("Sigmoid", [x]) as [string];
  emitter.node("Mul", [x, weight], { outputs: [emitter.name(node.outputs[0] as Value)] });
}

/** d/dx y = s + y (1 - s) for y = x s: two products fewer than the rules of its parts. */
function siluSlope(g: Value, x: Value, y: Value): Value {
  const weight = sigmoid(x);
  return mul(g, add(weight, mul(y, sub(1, weight))));
}

function hardSwishSlope(g: Value, x: Value): Value {
  const inside = mul(g, add(mul(x, 1 / 3), 0.5));
  return where(less(abs(x), 3), inside, bySign(x, g, 0));
}

/** With t = tanh(softplus(x)), whose derivative is (1 - t^2) sigmoid(x): d/dx x t = t + x (1 - t^2) sigmoid(x). */
function mishSlope(g: Value, x: Value): Value {
  const t = tanh(softplus(x));
  return mul(g, add(t, mul(mul(x, sub(1, mul(t, t))), sigmoid(x))));
}

function geluReference(x: number, { approximate }: { approximate: Approximate }): number {
  if (approximate === "none") return 0.5 * x * (1 + erfReference(x / Math.SQRT2));
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

/** d/dx x Phi(x) = Phi(x) + x phi(x), and the same for the approximation by tanh. */
function geluSlope(g: Value, x: Value, _: Value, { approximate }: { approximate: Approximate }): Value {
  if (approximate === "none") {
    const cumulative = mul(add(erf(mul(x, Math.SQRT1_2)), 1), 0.5);
    const density = mul(exp(mul(mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
    return mul(g, add(cumulative, mul(x, density)));
  }
  const scale = Math.sqrt(2 / Math.PI);
  const square = mul(x, x);
  const t = tanh(mul(mul(x, add(mul(square, 0.044715), 1)), scale));
  const inner = mul(add(mul(square, 3 * 0.044715), 1), scale);
  return mul(g, mul(add(add(t, 1), mul(mul(x, sub(1, mul(t, t))), inner)), 0.5));
}

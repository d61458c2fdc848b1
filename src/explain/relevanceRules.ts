/**
 * Layer-wise relevance propagation for transformers as gradients with other rules, so that relevance at a value is the
 * value times its modified gradient (Achtibat et al. 2024, "AttnLRP"; Ali et al. 2022, "XAI for Transformers: Better
 * Explanations through Conservative Propagation").
 */
import {
  abs,
  add,
  div,
  flat,
  type GradientRule,
  less,
  mul,
  type Node,
  operationNamed,
  reduceMean,
  sqrt,
  sub,
  type Value,
  where,
} from "../graph/index.js";

/** `attnLrp`: Achtibat et al. `detached`: Ali et al., the attention pattern and the norms' statistics held constant. */
export type RelevanceRule = "attnLrp" | "detached";

/** Functions of one number, through which relevance passes whole. */
const nonlinearities =
  "relu gelu silu sigmoid tanh softplus softsign hardSwish hardSigmoid mish elu selu celu leakyRelu thresholdedRelu erf";

/**
 * The rules of an explanation, for `pullback(seeds, at, { rules })`; operations that are not among them keep their own,
 * which is the rule for what is linear. `at` must hold the input that is explained, since a factor counts as constant
 * where it does not depend on `at`.
 *
 * - A product of two activations (matrices or elementwise) halves the relevance between them: half of each gradient.
 * - f(x) passes relevance whole: the slope is f(x) / x, and 0 where |x| is below 1e-30.
 * - RMS and layer norms are linear, their statistic held constant; so is what a value is divided by.
 * - Softmax has its first-order Taylor expansion, which is its own gradient (`attnLrp`), or is held constant, and the
 *   values that it weights get all relevance (`detached`).
 *
 * Biases, f(0), what a softmax's expansion leaves at 0, and clamped numbers absorb relevance.
 */
export function relevanceRules(rule: RelevanceRule): ReadonlyMap<string, GradientRule> {
  const common: [string, GradientRule][] = [
    ...nonlinearities.split(" ").map((name): [string, GradientRule] => [name, secant]),
    ["div", (node, outputs, wanted) => [plain(node, outputs, wanted)[0], undefined]],
    ["rmsNorm", (node, [g]) => [g && normalised(node, g, (x) => x), undefined]],
    ["layerNorm", (node, [g]) => [g && normalised(node, g, centred), undefined, undefined]],
  ];
  if (rule === "attnLrp") return new Map([...common, ["mul", shared], ["matmul", shared]]);
  return new Map([...common, ["mul", toWeighted], ["matmul", toWeighted], ["softmax", flat]]);
}

const plain: GradientRule = (node, outputs, wanted) =>
  operationNamed(node.operation).gradient?.(node, outputs, wanted) ?? [];

/** The operation's own gradients, halved where both factors are activations. */
const shared: GradientRule = (node, outputs, wanted) => {
  const own = plain(node, outputs, wanted);
  return wanted.every((yes) => yes) ? own.map((gradient) => gradient && mul(gradient, 0.5)) : own;
};

/** As `shared`, but attention weights are no activations: what they weight gets the whole. */
const toWeighted: GradientRule = (node, outputs, wanted) => {
  const weights = node.inputs.map(isAttention);
  if (!weights.includes(true)) return shared(node, outputs, wanted);
  return plain(node, outputs, wanted).map((gradient, i) => (weights[i] ? undefined : gradient));
};

/** Whether a value comes from a softmax with no other product in between: reshaped, sliced, or clamped. */
function isAttention(value: Value): boolean {
  const before = new Set([value]);
  for (const { node } of before) {
    if (node.operation === "softmax") return true;
    if (node.operation !== "matmul") for (const input of node.inputs) before.add(input); // a set grows under its iterator
  }
  return false;
}

/** f(x) / x in place of the slope. */
const secant: GradientRule = (node, [g]) => {
  const [x, y] = [node.inputs[0] as Value, node.outputs[0] as Value];
  const vanishes = less(abs(x), 1e-30);
  return [g && mul(g, where(vanishes, 0, div(y, where(vanishes, 1, x))))];
};

const centred = (x: Value) => sub(x, reduceMean(x, -1, { keepDims: true }));

/** The gradient through a norm of the last dimension, `centre` included, the divisor held constant. */
function normalised(node: Node, gradient: Value, centre: (x: Value) => Value): Value {
  const [x, gain] = node.inputs as readonly [Value, Value];
  const inner = centre(x);
  const divisor = sqrt(add(reduceMean(mul(inner, inner), -1, { keepDims: true }), node.attributes.epsilon as number));
  return centre(div(mul(gradient, gain), divisor));
}

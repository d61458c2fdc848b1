/** Layers on graphs: x [nodes, width], and edges as two lists of node numbers, int64 [edges]. */
import {
  add,
  concat,
  constantLike,
  div,
  exp,
  expand,
  gather,
  leakyRelu,
  matmul,
  max,
  mul,
  pow,
  range,
  reshape,
  scatterElements,
  stopGradient,
  sub,
  unsqueeze,
  type Value,
} from "../../graph/index.js";
import type { Random, Tensor } from "../../runtime/index.js";
import { initialisers } from "../initialisers.js";
import type { Traced } from "../parameters.js";

type T = Tensor<"float32">;

export interface Edges {
  readonly sources: Value;
  readonly targets: Value;
}

/** The sum of messages [edges, width] at their targets: [nodes, width]. */
export function sumAtTargets(messages: Value, targets: Value, nodes: number): Value {
  const width = messages.shape[1] as number;
  const start = expand(constantLike(messages, 0), [nodes, width]);
  const index = expand(unsqueeze(targets, 1), messages.shape);
  return scatterElements(start, index, messages, 0, "add");
}

/** The largest number of the edges at each target: [nodes, width]. A shift of exponents, so no gradient goes through it. */
function largestAtTargets(numbers: Value, targets: Value, nodes: number): Value {
  const start = expand(constantLike(numbers, -1e30), [nodes, numbers.shape[1] as number]);
  const index = expand(unsqueeze(targets, 1), numbers.shape);
  return scatterElements(start, index, stopGradient(numbers), 0, "max");
}

/** Each edge's message from its two ends, summed where it arrives (Gilmer et al. 2017). */
export function passMessages(x: Value, { sources, targets }: Edges, message: (from: Value, to: Value) => Value): Value {
  return sumAtTargets(message(gather(x, sources), gather(x, targets)), targets, x.shape[0] as number);
}

/** Edges and one from every node to itself. */
export function withSelfLoops({ sources, targets }: Edges, nodes: number): Edges {
  const self = range(nodes);
  return { sources: concat([sources, self], 0), targets: concat([targets, self], 0) };
}

/** `weight` [inputs, outputs], `bias` [outputs]. */
export interface GraphConvolutionParameters {
  readonly [key: string]: T;
  readonly weight: T;
  readonly bias: T;
}

export function graphConvolutionParameters(
  random: Random,
  { inputs, outputs }: { readonly inputs: number; readonly outputs: number },
): GraphConvolutionParameters {
  return {
    weight: initialisers.glorotUniform()(random, [inputs, outputs]),
    bias: initialisers.zeros()(random, [outputs]),
  };
}

/** Graph convolution (Kipf & Welling 2017): D^-1/2 (A + I) D^-1/2 X W + b. Edges must not hold self-loops. */
export function graphConvolution({ weight, bias }: Traced<GraphConvolutionParameters>, x: Value, edges: Edges): Value {
  const nodes = x.shape[0] as number;
  const all = withSelfLoops(edges, nodes);
  const one = expand(constantLike(x, 1), [all.targets.shape[0] as number, 1]);
  const scale = pow(sumAtTargets(one, all.targets, nodes), -0.5);
  const sent = mul(matmul(x, weight as Value), scale);
  return add(
    mul(
      passMessages(sent, all, (from) => from),
      scale,
    ),
    bias as Value,
  );
}

/** `weight` [inputs, heads * outputs], `source` and `target` [heads, outputs], `bias` [heads * outputs]. */
export interface GraphAttentionParameters {
  readonly [key: string]: T;
  readonly weight: T;
  readonly source: T;
  readonly target: T;
  readonly bias: T;
}

export function graphAttentionParameters(
  random: Random,
  { inputs, outputs, heads = 1 }: { readonly inputs: number; readonly outputs: number; readonly heads?: number },
): GraphAttentionParameters {
  return {
    weight: initialisers.glorotUniform()(random, [inputs, heads * outputs]),
    source: initialisers.glorotUniform()(random, [heads, outputs]),
    target: initialisers.glorotUniform()(random, [heads, outputs]),
    bias: initialisers.zeros()(random, [heads * outputs]),
  };
}

/** Graph attention (Velickovic et al. 2018), self-loops added, heads joined: [nodes, heads * outputs]. */
export function graphAttention(
  parameters: Traced<GraphAttentionParameters>,
  x: Value,
  edges: Edges,
  { slope = 0.2 }: { readonly slope?: number } = {},
): Value {
  const p = parameters as Readonly<Record<keyof GraphAttentionParameters & string, Value>>;
  const nodes = x.shape[0] as number;
  const [heads, outputs] = (p.source as Value).shape as readonly [number, number];
  const all = withSelfLoops(edges, nodes);
  const count = all.targets.shape[0] as number;
  const h = reshape(matmul(x, p.weight as Value), [nodes, heads, outputs]);
  const scoreOf = (vector: Value) => reshape(matmul(unsqueeze(h, 2), unsqueeze(vector, 2)), [nodes, heads]);
  const scores = leakyRelu(
    add(gather(scoreOf(p.source as Value), all.sources), gather(scoreOf(p.target as Value), all.targets)),
    slope,
  );
  const weights = exp(sub(scores, gather(largestAtTargets(scores, all.targets, nodes), all.targets)));
  const shares = div(weights, max(gather(sumAtTargets(weights, all.targets, nodes), all.targets), 1e-30));
  const messages = mul(gather(h, all.sources), unsqueeze(shares, 2));
  const flat = reshape(messages, [count, heads * outputs]);
  return add(sumAtTargets(flat, all.targets, nodes), p.bias as Value);
}

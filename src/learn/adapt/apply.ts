/** Adapters as they start, and as views of a model: the changed weights take the place of its own. */
import { usageError } from "../../errors.js";
import { type DecoderConfig, decoderWeights, type Model } from "../../model/index.js";
import { random, type Tensor, tensor } from "../../runtime/index.js";
import type { Adapter, AdapterConfig, LoraConfig, ProductConfig, ProductWeights } from "./adapter.js";
import { methodOf } from "./methods/index.js";
import { loraNames, loraScale } from "./methods/lora.js";
import { productsOf, targetProducts, targetWeights } from "./targets.js";

/** Products that a configuration adapts: all of the layers unless it says which. */
export function adaptedProducts(decoder: DecoderConfig, { targets = "layers.**" }: ProductConfig): string[] {
  return targetProducts(decoder, targets);
}

/**
 * An adapter before it is trained: a model with it is the model without it.
 *
 * @throws where a target stands for nothing, or a rank is none
 */
export async function createAdapter(
  model: Model,
  config: AdapterConfig,
  { seed = 0 }: { readonly seed?: number } = {},
): Promise<Adapter> {
  const read = (name: string) => model.weights.get(name);
  if (config.kind === "weights") {
    const names = targetWeights(model.config, config.targets);
    const values = await Promise.all(names.map(async (name) => [name, await read(name)] as const));
    return { config, tensors: Object.fromEntries(values) };
  }
  const sizes = productsOf(model.config);
  const products = adaptedProducts(model.config, config).map((name) => {
    const { inputs, outputs } = sizes.get(name) as { readonly inputs: number; readonly outputs: number };
    return { name, inputs, outputs };
  });
  return { config, tensors: await methodOf(config).start(config, products, { random: random(seed), read }) };
}

/**
 * A view of the model with an adapter's changes in its weights, times `scale` (1 unless given; -1 subtracts them): W +
 * scale (W' - W). Several adapters are views of views.
 *
 * @throws where the adapter belongs to a decoder of another shape
 */
export async function applyAdapter(
  model: Model,
  { config, tensors }: Adapter,
  { scale = 1 }: { readonly scale?: number } = {},
): Promise<Model> {
  const shapes = decoderWeights(model.config);
  const changed: Record<string, Tensor<"float32">> = {};
  if (config.kind === "weights") {
    for (const [name, value] of Object.entries(tensors))
      changed[name] = between(await model.weights.get(name), value, scale, name);
    return model.withWeights(changed);
  }
  const method = methodOf(config);
  for (const name of productsOf(model.config).keys()) {
    if (!Object.keys(tensors).some((key) => key.startsWith(`${name}.`))) continue;
    const [w, b] = [`${name}.weight`, `${name}.bias`];
    const own: ProductWeights = {
      weight: await model.weights.get(w),
      bias: shapes.has(b) ? await model.weights.get(b) : undefined,
    };
    const made = method.merge(config, tensors, name, own);
    if (made === undefined) continue;
    changed[w] = between(own.weight, made.weight, scale, w);
    if (own.bias !== undefined && made.bias !== undefined && made.bias !== own.bias)
      changed[b] = between(own.bias, made.bias, scale, b);
  }
  if (Object.keys(changed).length === 0)
    throw usageError("the adapter changes no product of this model: it was made for another one");
  return model.withWeights(changed);
}

function between(from: Tensor<"float32">, to: Tensor<"float32">, scale: number, name: string): Tensor<"float32"> {
  if (from.shape.join() !== to.shape.join())
    throw usageError(
      `the adapter holds ${name} as [${to.shape.join(", ")}]; the model's is [${from.shape.join(", ")}]`,
    );
  if (scale === 1) return to;
  const data = from.data.map((x, k) => x + scale * ((to.data[k] as number) - x));
  return tensor("float32", from.shape, data);
}

/**
 * One low-rank adapter that does what several do together, each times its scale (negative to subtract): their matrices
 * side by side, so that its rank is the sum of theirs.
 *
 * @throws where one learns magnitudes: those do not add up (apply them one after the other)
 */
export function combineAdapters(parts: readonly { readonly adapter: Adapter; readonly scale?: number }[]): Adapter {
  const own = parts.map(({ adapter: { config, tensors }, scale = 1 }) => {
    if (config.kind === "lora" && config.magnitude !== true) return { config, tensors, scale };
    throw usageError(`only plain low-rank adapters add up, not ${config.kind === "lora" ? "DoRA" : config.kind}`);
  });
  const suffix = loraNames.a("");
  const names = own.flatMap(({ tensors }) => Object.keys(tensors).filter((name) => name.endsWith(suffix)));
  const products = [...new Set(names.map((name) => name.slice(0, -suffix.length)))];
  const rank = own.reduce((sum, { config }) => sum + config.rank, 0);
  const config: LoraConfig = { kind: "lora", rank, alpha: rank, targets: products };
  const tensors: Record<string, Tensor<"float32">> = {};
  for (const product of products) {
    const pairs = own.flatMap(({ config, tensors, scale }) => {
      const [a, b] = [tensors[loraNames.a(product)], tensors[loraNames.b(product)]];
      if (a === undefined || b === undefined) return [];
      return [{ a, b, factor: scale * loraScale(config, product, a.shape[1] as number) }];
    });
    const total = pairs.reduce((sum, { a }) => sum + (a.shape[1] as number), 0);
    Object.assign(tensors, joinedPair(product, pairs, total, 1 / loraScale(config, product, total)));
  }
  return { config, tensors };
}

interface Pair {
  readonly a: Tensor<"float32">;
  readonly b: Tensor<"float32">;
  readonly factor: number;
}

/** [A1 A2 ...] and [f1 B1; f2 B2; ...]: the product of the two is the sum of f A B, times `scale`. */
function joinedPair(
  product: string,
  pairs: readonly Pair[],
  rank: number,
  scale: number,
): Record<string, Tensor<"float32">> {
  const first = pairs[0] as Pair;
  const [inputs, outputs] = [first.a.shape[0] as number, first.b.shape[1] as number];
  const [left, right] = [new Float32Array(inputs * rank), new Float32Array(rank * outputs)];
  let at = 0;
  for (const { a, b, factor } of pairs) {
    const own = a.shape[1] as number;
    if (a.shape[0] !== inputs || b.shape[1] !== outputs)
      throw usageError(
        `${product}: adapters of [${inputs}, ${outputs}] and [${a.shape[0]}, ${b.shape[1]}] do not add up`,
      );
    for (let i = 0; i < inputs; i++) left.set(a.data.subarray(i * own, (i + 1) * own), i * rank + at);
    right.set(
      b.data.map((x) => x * factor * scale),
      at * outputs,
    );
    at += own;
  }
  return {
    [loraNames.a(product)]: tensor("float32", [inputs, rank], left),
    [loraNames.b(product)]: tensor("float32", [rank, outputs], right),
  };
}

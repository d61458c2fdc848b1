/**
 * Adapters as PEFT writes them: a folder with adapter_config.json and adapter_model.safetensors, under the transformers
 * library's names. Products that share a module there (GPT-2's queries, keys and values) lie in it side by side: their
 * low-rank pairs become one pair of blocks.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { failure, messageOf, usageError } from "../../../errors.js";
import { type Model, writeSafetensors } from "../../../model/index.js";
import { type Tensor, tensor } from "../../../runtime/index.js";
import type { Adapter, AdapterTensors, LoraConfig, ProductConfig, VeraConfig } from "../adapter.js";
import { familyOf, type HubModule, modulesOf } from "../hub.js";
import { columnSquares, transposed } from "../matrices.js";
import { ia3Name, scalesInputs } from "../methods/ia3.js";
import { loraNames, loraScale } from "../methods/lora.js";
import { veraNames } from "../methods/vera.js";
import { productsOf } from "../targets.js";

/** What an adapter becomes: tensors by name, and what its configuration says beside what all say. */
interface Written {
  readonly tensors: Record<string, Tensor<"float32">>;
  readonly modules: readonly HubModule[];
  readonly config: Readonly<Record<string, unknown>>;
}

/**
 * Writes an adapter of a model into a folder, made where it is absent.
 *
 * @throws where the format has no place for it: plain weights (write a whole model), or VeRA on modules of several products
 */
export async function writeAdapter(folder: string, model: Model, { config, tensors }: Adapter): Promise<void> {
  if (config.kind === "weights")
    throw usageError("an adapter of plain weights has no place in PEFT's format: write the whole model (writeModel)");
  const { tensors: named, modules, config: own } = await writtenOf(model, config, tensors);
  if (modules.length === 0) throw usageError("the adapter has no tensor for any product of this model");
  const settings = {
    ...own,
    task_type: "CAUSAL_LM",
    base_model_name_or_path: model.identity.source.replace(/^hf:/, ""),
    target_modules: moduleNames(modules, modulesOf(model.config)),
    fan_in_fan_out: familyOf(model.config).storesInputsFirst,
    inference_mode: true,
  };
  const path = join(folder, "adapter_config.json");
  await mkdir(folder, { recursive: true })
    .then(() => writeFile(path, `${JSON.stringify(settings, null, 1)}\n`))
    .catch((error: unknown) => {
      throw failure(`can't write ${path}: ${messageOf(error)}`, error);
    });
  const prefixed = Object.entries(named).map(([name, x]) => [`base_model.${name}`, x] as const);
  await writeSafetensors(join(folder, "adapter_model.safetensors"), Object.fromEntries(prefixed), { format: "pt" });
}

async function writtenOf(model: Model, config: ProductConfig, tensors: AdapterTensors): Promise<Written> {
  if (config.kind === "lora") return writtenLora(model, config, tensors);
  return config.kind === "ia3" ? writtenIa3(model, tensors) : writtenVera(model, config, tensors);
}

/** Names as short as they are clear: of a kind that is there in every layer, its name in a layer. */
function moduleNames(modules: readonly HubModule[], all: readonly HubModule[]): string[] {
  const count = (list: readonly HubModule[], kind: string) => list.filter(({ inLayer }) => inLayer === kind).length;
  const names = modules.map(({ name, inLayer }) => (count(modules, inLayer) === count(all, inLayer) ? inLayer : name));
  return [...new Set(names)];
}

/** Modules of which the adapter has a tensor for some product. */
function usedModules(model: Model, tensors: AdapterTensors, nameOf: (product: string) => string): HubModule[] {
  return modulesOf(model.config).filter(({ products }) => products.some((product) => nameOf(product) in tensors));
}

async function writtenLora(model: Model, config: LoraConfig, tensors: AdapterTensors): Promise<Written> {
  const modules = usedModules(model, tensors, loraNames.a);
  const sizes = productsOf(model.config);
  const ranks: Record<string, number> = {};
  const alphas: Record<string, number> = {};
  const named: Record<string, Tensor<"float32">> = {};
  for (const { name, products } of modules) {
    const outputs = products.map((product) => sizes.get(product)?.outputs as number);
    const { a, b, scale } = blocks(config, products, outputs, tensors);
    const rank = a.shape[1] as number;
    named[`model.${name}.lora_A.weight`] = transposed(a);
    named[`model.${name}.lora_B.weight`] = transposed(b);
    if (config.magnitude === true)
      named[`model.${name}.lora_magnitude_vector`] = await magnitudes(model, products, tensors);
    if (rank !== config.rank) ranks[name] = rank;
    const alpha = scale * (config.rankStabilised === true ? Math.sqrt(rank) : rank);
    if (Math.abs(alpha / config.alpha - 1) > 1e-12) alphas[name] = alpha;
  }
  return {
    tensors: named,
    modules,
    config: {
      peft_type: "LORA",
      r: config.rank,
      lora_alpha: config.alpha,
      lora_dropout: config.dropout ?? 0,
      bias: "none",
      use_rslora: config.rankStabilised === true,
      use_dora: config.magnitude === true,
      rank_pattern: ranks,
      alpha_pattern: alphas,
      init_lora_weights: true,
    },
  };
}

/** One pair, at one scale, for products side by side: a shared A where they have the same, else blocks. */
function blocks(config: LoraConfig, products: readonly string[], outputs: readonly number[], tensors: AdapterTensors) {
  const pairs = products.map((product) => {
    const [a, b] = [tensors[loraNames.a(product)], tensors[loraNames.b(product)]];
    return a === undefined || b === undefined ? undefined : { a, b, scale: loraScale(config, product, a.shape[1]) };
  });
  const present = pairs.flatMap((pair) => (pair === undefined ? [] : [pair.a]));
  const [first] = present as [Tensor<"float32">];
  const scale = pairs.find((pair) => pair !== undefined)?.scale as number;
  const inputs = first.shape[0] as number;
  const shared = present.length === pairs.length && present.every((a) => sameValues(a, first));
  const rank = shared ? (first.shape[1] as number) : present.reduce((sum, a) => sum + (a.shape[1] as number), 0);
  const width = outputs.reduce((sum, count) => sum + count, 0);
  const [left, right] = [new Float32Array(inputs * rank), new Float32Array(rank * width)];
  let [row, column] = [0, 0];
  pairs.forEach((pair, i) => {
    const own = outputs[i] as number;
    if (pair !== undefined) {
      const { a, b } = pair;
      const r = a.shape[1] as number;
      const factor = pair.scale / scale;
      for (let k = 0; k < inputs; k++) left.set(a.data.subarray(k * r, (k + 1) * r), k * rank + row);
      for (let k = 0; k < r; k++)
        for (let j = 0; j < own; j++) right[(row + k) * width + column + j] = (b.data[k * own + j] as number) * factor;
      if (!shared) row += r;
    }
    column += own;
  });
  return { a: tensor("float32", [inputs, rank], left), b: tensor("float32", [rank, width], right), scale };
}

const sameValues = (a: Tensor<"float32">, b: Tensor<"float32">) =>
  a.data.length === b.data.length && a.data.every((x, k) => x === b.data[k]);

/** Lengths of columns side by side; those of a product without any are its weight's. */
async function magnitudes(
  model: Model,
  products: readonly string[],
  tensors: AdapterTensors,
): Promise<Tensor<"float32">> {
  const parts = products.map(async (product) => {
    const own = tensors[loraNames.magnitude(product)];
    if (own !== undefined) return own.data;
    return columnSquares(await model.weights.get(`${product}.weight`)).map(Math.sqrt);
  });
  const data = Float32Array.from((await Promise.all(parts)).flatMap((part) => [...part]));
  return tensor("float32", [data.length], data);
}

function writtenIa3(model: Model, tensors: AdapterTensors): Written {
  const modules = usedModules(model, tensors, ia3Name);
  const sizes = productsOf(model.config);
  const named: Record<string, Tensor<"float32">> = {};
  for (const { name, products } of modules) {
    const data = Float32Array.from(
      products.flatMap((product) => {
        const { outputs } = sizes.get(product) as { readonly outputs: number };
        return [...(tensors[ia3Name(product)]?.data ?? new Float32Array(outputs).fill(1))];
      }),
    );
    const forward = products.some(scalesInputs);
    named[`model.${name}.ia3_l`] = tensor("float32", forward ? [1, data.length] : [data.length, 1], data);
  }
  const forward = modules.filter(({ products }) => products.some(scalesInputs));
  return {
    tensors: named,
    modules,
    config: {
      peft_type: "IA3",
      feedforward_modules: moduleNames(forward, modulesOf(model.config)),
      init_ia3_weights: true,
    },
  };
}

function writtenVera(model: Model, { rank, dropout = 0, initial = 0.1 }: VeraConfig, tensors: AdapterTensors): Written {
  const modules = usedModules(model, tensors, veraNames.inner);
  const named: Record<string, Tensor<"float32">> = {
    vera_A: transposed(tensors[veraNames.a] as Tensor<"float32">),
    vera_B: transposed(tensors[veraNames.b] as Tensor<"float32">),
  };
  for (const { name, products } of modules) {
    const [product] = products as [string];
    if (products.length > 1)
      throw usageError(
        `PEFT has one VeRA for ${name}, which holds ${products.join(", ")}: this adapter has one for each`,
      );
    named[`model.${name}.vera_lambda_d`] = tensors[veraNames.inner(product)] as Tensor<"float32">;
    named[`model.${name}.vera_lambda_b`] = tensors[veraNames.outer(product)] as Tensor<"float32">;
  }
  return {
    tensors: named,
    modules,
    config: {
      peft_type: "VERA",
      r: rank,
      vera_dropout: dropout,
      d_initial: initial,
      bias: "none",
      save_projection: true,
      projection_prng_key: 0,
    },
  };
}

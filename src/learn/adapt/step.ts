/**
 * The step that adapts a language model: the model's own decoder, its weights mapped from its file, with an adapter's
 * tensors as the parameters. Weights that are not trained are neither copied nor given a gradient.
 */
import { usageError } from "../../errors.js";
import { div, dropout, mul, reduceSum, splitKey, transpose, unsqueeze, type Value, weight } from "../../graph/index.js";
import { type DecoderConfig, type DecoderOptions, decoder, decoderWeights, type Model } from "../../model/index.js";
import { createRuntime, type Runtime, type Tensor, tensorOf } from "../../runtime/index.js";
import { crossEntropy } from "../losses/index.js";
import type { Optimizer } from "../optimizer.js";
import { byName, type Rate } from "../optimizers/index.js";
import { rateAt } from "../optimizers/schedules.js";
import { type StepContext, type StepOptions, type TrainingStep, trainingStep } from "../step.js";
import type { Adapter, AdapterTensors, ProductConfig } from "./adapter.js";
import { adaptedProducts } from "./apply.js";
import type { ExampleBatch } from "./examples.js";
import { methodOf } from "./methods/index.js";

export interface LanguageModelOptions extends Omit<StepOptions, "batch" | "frozen" | "weights"> {
  /** The adapter that training starts from: what `createAdapter` made, or one that was trained before. */
  readonly adapter: Adapter;
  /** Rows of a batch, and tokens of a row. */
  readonly batch: { readonly size: number; readonly context: number };
}

export interface LanguageModelStep {
  readonly step: TrainingStep<AdapterTensors>;
  /** The adapter with the parameters of a run. */
  adapter(parameters: AdapterTensors): Adapter;
  /** Mean loss in nats per counted token over batches, without dropout. */
  evaluate(parameters: AdapterTensors, batches: Iterable<ExampleBatch>, runtime?: Runtime): Promise<number>;
}

type TracedTensors = Readonly<Record<string, Value>>;

/**
 * A training step for the next tokens of rows (see `exampleBatches`), over an adapter of an opened model. Clamps of a view
 * are not part of it (give `edits`), weights that a view replaced are.
 */
export function languageModelStep(model: Model, options: LanguageModelOptions): LanguageModelStep {
  const { adapter, batch, ...rest } = options;
  const { config, tensors } = adapter;
  const { size, context } = batch;
  if (context > model.config.context)
    throw usageError(`rows of ${context} tokens are longer than the model's context, ${model.config.context}`);
  const types = {
    ids: { dtype: "int64", shape: [size, context] },
    targets: { dtype: "int64", shape: [size, context] },
    share: { dtype: "float32", shape: [size] },
  } as const;
  const isFixed = config.kind === "weights" ? () => false : methodOf(config).isFixed;
  const define = (training: boolean): TrainingStep<AdapterTensors> =>
    trainingStep<AdapterTensors>({
      ...rest,
      batch: types,
      parameters: tensors,
      frozen: isFixed,
      weights: { file: model.weights.file, values: model.weights.replaced },
      loss: (parameters, values, own) => nextTokenLoss(model.config, adapter, parameters, values, { ...own, training }),
    });
  const step = define(true);
  return {
    step,
    adapter: (parameters) => ({ config, tensors: parameters }),
    evaluate: (parameters, batches, runtime) => meanLoss(model, define(false), parameters, batches, runtime),
  };
}

/** The mean loss of a batch's counted tokens. `share` makes it the same however the batch is cut into parts. */
function nextTokenLoss(
  decoderConfig: DecoderConfig,
  adapter: Adapter,
  parameters: TracedTensors,
  { ids, targets, share }: Readonly<Record<string, Value>>,
  context: StepContext & { readonly training: boolean },
): Value {
  const options = adaptedDecoder(decoderConfig, adapter, parameters, context);
  const logits = decoder(decoderConfig, ids as Value, { ...options, site: context.site });
  const losses = crossEntropy(logits, targets as Value, { reduction: "none" });
  const rows = (ids as Value).shape[0] as number;
  return div(reduceSum(mul(losses, unsqueeze(share as Value, 1)), [0, 1]), rows);
}

/** Where the decoder's weights come from, and what the adapter does to its products. */
function adaptedDecoder(
  config: DecoderConfig,
  { config: own, tensors }: Adapter,
  parameters: TracedTensors,
  { key, training }: { readonly key: Value; readonly training: boolean },
): DecoderOptions {
  const shapes = decoderWeights(config);
  const mapped = new Map<string, Value>();
  const read = (name: string): Value => {
    const known = mapped.get(name) ?? weight(name, shapes.get(name) as readonly number[]);
    mapped.set(name, known);
    return known;
  };
  if (own.kind === "weights") return { weight: (name) => trainedWeight(config, parameters, name) ?? read(name) };
  const method = methodOf(own);
  const names = adaptedProducts(config, own);
  const drop = training && own.kind !== "ia3" ? (own.dropout ?? 0) : 0;
  const keys = drop > 0 ? splitKey(key, names.length) : [];
  return {
    weight: read,
    adapt: (name, x, y) => {
      const at = names.indexOf(name);
      if (at < 0) return y;
      return method.apply(training ? own : withoutDropout(own), {
        name,
        x,
        y,
        weight: read(`${name}.weight`),
        bias: shapes.has(`${name}.bias`) ? read(`${name}.bias`) : undefined,
        read: (tensor) => (tensor in tensors ? parameters[tensor] : undefined),
        dropped: drop > 0 ? dropout(x, drop, keys[at] as Value) : x,
      });
    },
  };
}

const withoutDropout = (config: ProductConfig): ProductConfig =>
  config.kind === "ia3" ? config : { ...config, dropout: 0 };

/** A trained weight; in a tied decoder the unembedding is the transposed embedding. */
function trainedWeight({ tied }: DecoderConfig, parameters: TracedTensors, name: string): Value | undefined {
  const embedding = parameters["embed.weight"];
  if (tied && name === "unembed.weight" && embedding !== undefined) return transpose(embedding, [1, 0]);
  return parameters[name];
}

async function meanLoss(
  model: Model,
  step: TrainingStep<AdapterTensors>,
  parameters: AdapterTensors,
  batches: Iterable<ExampleBatch>,
  runtime = createRuntime(),
): Promise<number> {
  const loss = step.graph.outputs.get("loss") as Value;
  const program = runtime.compile(
    { inputs: step.graph.inputs, outputs: new Map([["loss", loss]]), sites: new Map() },
    { weights: "mapped", file: model.weights.file, values: model.weights.replaced },
  );
  const own = Object.entries(parameters).map(([name, x]) => [`parameters.${name}`, x] as const);
  const used = new Set(step.graph.inputs.map((value) => value.node.attributes.name));
  let [sum, count] = [0, 0];
  for (const batch of batches) {
    const feeds: Record<string, Tensor> = Object.fromEntries([
      ...own,
      ...Object.entries(batch).map(([name, x]) => [`batch.${name}`, x] as const),
      ["key", tensorOf("int64", [2], [0, 0])],
      ["step", tensorOf("float32", [], [0])],
    ]);
    const counted = batch.targets.data.reduce((n, target) => n + (target === -100n ? 0 : 1), 0);
    const made = await program.run(Object.fromEntries(Object.entries(feeds).filter(([name]) => used.has(name))));
    sum += (made.loss?.data[0] as number) * counted;
    count += counted;
  }
  if (count === 0) throw usageError("there is no token whose loss counts");
  return sum / count;
}

/**
 * LoRA+ (Hayou et al. 2024): the matrices that start at zero learn `ratio` times as fast as the others.
 *
 * @param make an optimizer of a rate, such as `(rate) => adamW({ rate, decay: 0 })`
 */
export function loraPlus(make: (rate: Rate) => Optimizer, { rate, ratio = 16 }: LoraPlusOptions): Optimizer {
  const faster: Rate = typeof rate === "number" ? rate * ratio : (step) => mul(rateAt(rate, step), ratio);
  return byName([[(name) => name.endsWith(".loraB"), make(faster)]], make(rate));
}

export interface LoraPlusOptions {
  readonly rate: Rate;
  /** 16 unless given. */
  readonly ratio?: number;
}

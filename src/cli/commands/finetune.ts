/** `patchclamp finetune`: teaches a model a file of text, by an adapter in PEFT's format or as a whole checkpoint. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Command, Option } from "commander";
import { failure, messageOf, usageError } from "../../errors.js";
import type {
  Adapter,
  AdapterConfig,
  AdapterTensors,
  LanguageModelStep,
  TextExample,
  TokenRow,
  Trained,
} from "../../learn/index.js";
import type { Model } from "../../model/index.js";
import type { Runtime } from "../../runtime/index.js";
import { type Context, printJson, printText, withModel } from "../context.js";
import { addExample, addModelReference, addOutputOptions, addSourceOptions, type OpenOptions } from "../options.js";
import { readRecords } from "../prompts.js";
import type { FinetuneResult } from "../schemas.js";
import { sizeNumber, wholeNumber } from "../values.js";

type Kind = FinetuneResult["kind"];

interface Options extends OpenOptions {
  readonly out: string;
  readonly kind: Exclude<Kind, "weights">;
  readonly rank: number;
  readonly alpha?: number;
  readonly dropout: number;
  readonly targets?: readonly string[];
  readonly all?: true;
  readonly train?: readonly string[];
  readonly steps?: number;
  readonly batch: number;
  readonly context: number;
  readonly rate?: number;
  readonly seed: number;
  readonly validate?: string;
  readonly resume?: true;
}

export function define(command: Command, context: Context): void {
  command
    .argument("<FILE>", 'text, or .jsonl of {"text"}, {"prompt", "completion"} or {"messages": [{"role", "content"}]}')
    .requiredOption(
      "--out <folder>",
      "what is learned: an adapter (PEFT's format), or a checkpoint with --all or --train",
    )
    .addOption(new Option("--kind <kind>", "kind of adapter").choices(["lora", "dora", "ia3", "vera"]).default("lora"))
    .option("--rank <count>", "rank of the adapter", wholeNumber(1), 8)
    .option(
      "--alpha <number>",
      "what the adapter's change is multiplied by, over the rank (default: twice the rank)",
      sizeNumber,
    )
    .option("--dropout <share>", "share of the adapter's inputs dropped in training", sizeNumber, 0)
    .option(
      "--targets <globs...>",
      "products that are adapted, such as 'layers.*.attn.{q,v}' (default: all of the layers)",
    )
    .option("--all", "train every weight in place of an adapter")
    .option("--train <globs...>", "train these weights in place of an adapter, such as '**.bias'")
    .option("--steps <count>", "steps (default: once through the file)", wholeNumber(1))
    .option("--batch <rows>", "rows of a step", wholeNumber(1), 8)
    .option("--context <tokens>", "tokens of a row, at most", wholeNumber(2), 256)
    .option("--rate <number>", "highest learning rate (default: by the kind)", sizeNumber)
    .option("--seed <number>", "seed of the adapter and the order of rows", wholeNumber(0), 0)
    .option("--validate <file>", "a file like FILE whose loss is measured before and after")
    .option("--resume", "go on with a run that was stopped");
  addModelReference(command);
  addSourceOptions(command);
  addOutputOptions(command);
  addExample(command, "patchclamp finetune letters.txt --out letters", 'patchclamp generate "Dear" --adapter letters');
  command.action((file: string, options: Options) => finetune(file, options, context));
}

/** Highest learning rates that are usual for each kind. */
const rates: Readonly<Record<Kind, number>> = { lora: 2e-4, dora: 2e-4, ia3: 3e-3, vera: 4e-3, weights: 2e-5 };

async function finetune(file: string, options: Options, context: Context): Promise<void> {
  const config = configOf(options);
  const examples = await readExamples(file, context);
  const held = options.validate === undefined ? undefined : await readExamples(options.validate, context);
  const folder = join(options.out, "training");
  if (existsSync(folder) && options.resume !== true)
    throw usageError(`${folder} holds a run that was stopped: go on with --resume, or remove it`);
  await withModel(context, options, async (model) => {
    const { createAdapter, exampleRows } = await import("../../learn/index.js");
    const most = Math.min(options.context, model.config.context);
    const rows = exampleRows(examples, model.tokenizer, most);
    const validation = held && exampleRows(held, model.tokenizer, most);
    const longest = [...rows, ...(validation ?? [])].reduce((length, { ids }) => Math.max(length, ids.length - 1), 1);
    const adapter = await createAdapter(model, config, { seed: options.seed });
    const run: Run = { model, adapter, rows, validation, longest, options, folder, context };
    await keepSettings(run, file);
    const result = await runTraining(run);
    await rm(folder, { recursive: true, force: true });
    if (options.json) await printJson(context, result);
    else await printText(context, describe(result));
  });
}

/** What a call trains. Throws where it asks for two things at once. */
function configOf({ kind, rank, alpha = 2 * rank, dropout, targets, all, train }: Options): AdapterConfig {
  if ([targets, all, train].filter((given) => given !== undefined).length > 1)
    throw usageError("give one of --targets (an adapter), --train and --all (weights)");
  if (all || train !== undefined) return { kind: "weights", targets: train ?? "**" };
  const targeted = targets === undefined ? {} : { targets };
  if (kind === "ia3") return { kind, targets: targets ?? "layers.*.{attn.k,attn.v,mlp.down}" };
  if (kind === "vera") return { kind, rank, dropout, ...targeted };
  return { kind: "lora", rank, alpha, dropout, magnitude: kind === "dora", ...targeted };
}

async function readExamples(path: string, { stdin, signal }: Context): Promise<TextExample[]> {
  const { textExample } = await import("../../learn/index.js");
  if (/\.(jsonl|ndjson)$/i.test(path))
    return (await readRecords(path, stdin, signal)).map(({ value, where }) => textExample(value, where));
  const { readText } = await import("../../data/index.js");
  return [{ text: await readText(path) }];
}

/** One call of the command, once its file is read and its model open. */
interface Run {
  readonly model: Model;
  readonly adapter: Adapter;
  readonly rows: readonly TokenRow[];
  readonly validation: readonly TokenRow[] | undefined;
  /** Tokens of the longest row. */
  readonly longest: number;
  readonly options: Options;
  /** Where the run is kept until it is done. */
  readonly folder: string;
  readonly context: Context;
}

/** Options that a run keeps to from its first step to its last. */
const settled = [
  "model",
  "kind",
  "rank",
  "alpha",
  "dropout",
  "targets",
  "all",
  "train",
  "steps",
  "batch",
  "context",
  "rate",
  "seed",
] as const;

/** Writes what a run was started with, or holds a resumed one against it. */
async function keepSettings({ options, folder, rows }: Run, file: string): Promise<void> {
  const hash = createHash("sha256");
  for (const row of rows) hash.update(JSON.stringify(row));
  const now: Readonly<Record<string, unknown>> = {
    ...Object.fromEntries(settled.map((key) => [key, options[key]])),
    text: hash.digest("hex"),
  };
  const path = join(folder, "settings.json");
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (text === undefined) {
    await mkdir(folder, { recursive: true })
      .then(() => writeFile(path, JSON.stringify(now)))
      .catch((error: unknown) => {
        throw failure(`can't write ${path}: ${messageOf(error)}`, error);
      });
    return;
  }
  const before = JSON.parse(text) as Readonly<Record<string, unknown>>;
  const odd = [...new Set([...Object.keys(before), ...Object.keys(now)])].find(
    (key) => JSON.stringify(before[key]) !== JSON.stringify(now[key]),
  );
  if (odd === "text") throw usageError(`${folder} holds a run on another text than that of ${file}`);
  if (odd !== undefined)
    throw usageError(`${folder} holds a run with --${odd} ${JSON.stringify(before[odd])}: resume it with the same`);
}

/** Tokens that are run at once: more take memory and save no time on a CPU. */
const tokensAtOnce = 256;

/** Steps between two checkpoints. */
const checkpointSteps = 100;

/** Into how many parts a batch is cut. */
function partsOf(rows: number, context: number): number {
  const fits = (parts: number) => rows % parts === 0 && (rows / parts) * context <= tokensAtOnce;
  return Array.from({ length: rows }, (_, i) => i + 1).find(fits) ?? rows;
}

async function runTraining(run: Run): Promise<FinetuneResult> {
  const { languageModelStep, orderedBatches, parameterCount } = await import("../../learn/index.js");
  const { createRuntime } = await import("../../runtime/index.js");
  const { model, adapter, rows, validation, longest, options, context } = run;
  const size = { size: options.batch, context: longest };
  const steps = options.steps ?? Math.ceil(rows.length / options.batch);
  const language = languageModelStep(model, {
    adapter,
    batch: size,
    accumulate: partsOf(options.batch, longest),
    ...(await optimizing(run, steps)),
  });
  const runtime = createRuntime(options.threads === undefined ? {} : { threads: options.threads });
  const measure = (parameters: AdapterTensors, own: readonly TokenRow[]) =>
    language.evaluate(parameters, orderedBatches(own, size), runtime);
  try {
    const before = validation && (await measure(adapter.tensors, validation));
    const { trained, tokensPerSecond } = await trainRows(run, language, { steps, runtime });
    const after = validation && (await measure(trained.parameters, validation));
    await context.whole(() => writeResult(run, language, trained));
    return {
      model: model.identity,
      out: options.out,
      kind: kindOf(run),
      trained: parameterCount(Object.fromEntries(Object.entries(adapter.tensors).filter(([name]) => !isShared(name)))),
      rows: rows.length,
      steps,
      loss: ends(trained.history.get("loss") ?? []),
      tokensPerSecond,
      ...(before === undefined || after === undefined ? {} : { validation: { before, after } }),
    };
  } finally {
    await runtime.close();
  }
}

const kindOf = ({ adapter, options }: Run): Kind => (adapter.config.kind === "weights" ? "weights" : options.kind);

/** AdamW without decay, warmed up over the first twentieth of the steps, and down to zero at the last. */
async function optimizing(run: Run, steps: number) {
  const { adamW, linearDecay, warmup } = await import("../../learn/index.js");
  const warm = Math.min(100, Math.ceil(steps / 20));
  const highest = run.options.rate ?? rates[kindOf(run)];
  const rate = warmup(warm, linearDecay(highest, Math.max(1, steps - warm)));
  return { optimizer: adamW({ rate, decay: 0 }), clip: { norm: 1 } };
}

/** Makes the steps of a run. Where Ctrl-C ends it, its state is kept, and the signal's reason thrown. */
async function trainRows(
  { rows, longest, options, folder, context }: Run,
  { step }: LanguageModelStep,
  { steps, runtime }: { readonly steps: number; readonly runtime: Runtime },
): Promise<{ trained: Trained<AdapterTensors>; tokensPerSecond: number }> {
  const { exampleBatches, train } = await import("../../learn/index.js");
  const data = exampleBatches(rows, { size: options.batch, context: longest, seed: options.seed });
  let tokensPerSecond = 0;
  // A step is not to be cut off: Ctrl-C ends the run after it.
  const trained = await context.whole(() =>
    train(step, data, {
      steps,
      seed: options.seed,
      checkpoint: { folder, every: checkpointSteps },
      signal: context.signal,
      runtime,
      onStep(event) {
        tokensPerSecond = event.stepsPerSecond * options.batch * longest;
        const speed = tokensPerSecond > 0 ? `, ${Math.round(tokensPerSecond)} tokens/s` : "";
        context.progress.step("training", event.step, steps, "runs", `loss ${event.loss.toFixed(3)}${speed}`);
      },
    }),
  );
  context.progress.end();
  if (context.signal.aborted)
    context.progress.notice(`stopped after step ${trained.step} of ${steps}: go on with --resume`);
  context.signal.throwIfAborted();
  return { trained, tokensPerSecond };
}

/** Tensors of an adapter that no training moves. */
const isShared = (name: string) => /^shared\.|\.squares$/.test(name);

/** The mean loss of the first tenth of the steps, and of the last. */
function ends(losses: readonly number[]): FinetuneResult["loss"] {
  const count = Math.max(1, Math.floor(losses.length / 10));
  const mean = (part: readonly number[]) => part.reduce((sum, x) => sum + x, 0) / part.length;
  return { first: mean(losses.slice(0, count)), last: mean(losses.slice(-count)) };
}

async function writeResult(
  { model, options }: Run,
  language: LanguageModelStep,
  { parameters }: Trained<AdapterTensors>,
): Promise<void> {
  const { applyAdapter, hubConfig, writeAdapter } = await import("../../learn/index.js");
  const adapter = language.adapter(parameters);
  if (adapter.config.kind !== "weights") return writeAdapter(options.out, model, adapter);
  const { writeModel } = await import("../../model/index.js");
  const view = await applyAdapter(model, adapter);
  const names = [...view.weights.shapes.keys()].filter((name) => !(model.config.tied && name === "unembed.weight"));
  const weights = await Promise.all(names.map(async (name) => [name, await view.weights.get(name)] as const));
  await writeModel(options.out, {
    config: hubConfig(model.config),
    weights: new Map(weights),
    files: await tokenizerFiles(options),
  });
}

/** The tokenizer's files of a model that has them as JSON. */
async function tokenizerFiles({ model, offline }: Options): Promise<Record<string, unknown>> {
  const { resolveModel } = await import("../../model/index.js");
  const { files } = await resolveModel(model, { offline: offline === true });
  const names = ["tokenizer.json", "tokenizer_config.json", "generation_config.json"].filter((name) => files.has(name));
  const read = names.map(async (name) => {
    const contents: unknown = JSON.parse(await readFile(files.get(name) as string, "utf8"));
    return [name, contents] as const;
  });
  return Object.fromEntries(await Promise.all(read));
}

function describe({ out, kind, trained, steps, loss, tokensPerSecond, validation }: FinetuneResult): string {
  const what = kind === "weights" ? "a checkpoint" : "an adapter";
  const use = kind === "weights" ? `--model ${out}` : `--adapter ${out}`;
  const held =
    validation === undefined
      ? ""
      : `validation: ${validation.before.toFixed(3)} before, ${validation.after.toFixed(3)} after\n`;
  return (
    `loss: ${loss.first.toFixed(3)} at first, ${loss.last.toFixed(3)} at last, nats a token\n${held}` +
    `${steps} steps of ${trained} numbers, ${Math.round(tokensPerSecond)} tokens/s\n` +
    `wrote ${what} to ${out}: use it with ${use}\n`
  );
}

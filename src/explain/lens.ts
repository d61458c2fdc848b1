/**
 * The logit lens (nostalgebraist 2020, "interpreting GPT: the logit lens"): what the model would predict if it stopped at
 * a layer. Each layer's residual stream goes through the model's own final norm and unembedding.
 */
import { usageError } from "../errors.js";
import { add, cast, gather, greater, reduceSum, slice, type Value } from "../graph/index.js";
import { type Model, type Prompt, type Recording, recorded, type Token } from "../model/index.js";
import { row, type Tensor, tensorOf } from "../runtime/index.js";
import { divergence, likeliest, logProbabilities, probabilityOf } from "./distribution.js";
import { unembed } from "./head.js";
import { wholeSites } from "./sites.js";
import { checkCount, checkToken, readTokens, type TokenProbability } from "./tokens.js";

/** What one layer says at one position. */
export interface LensPosition {
  readonly top: TokenProbability[];
  /** Where the target stands: its rank from 1 and its probability. */
  readonly target?: { rank: number; probability: number };
  /** KL(final || layer) in nats. */
  readonly kl: number;
}

export interface Lens {
  readonly tokens: readonly Token[];
  readonly layers: { site: string; positions: LensPosition[] }[];
}

export interface LensOptions {
  /** Tokens shown at each place; 5 unless given. */
  readonly top?: number;
  /** A token id whose rank and probability are followed. */
  readonly target?: number;
  /** Names or globs of residual streams; `embed` and every `residPost` unless given. */
  readonly sites?: readonly string[];
  /** Add the beginning-of-text token; the model's own setting unless given. */
  readonly bos?: boolean;
  /** Most logits held at once; 2^22 unless given, which with their float64 twins is some 150 MB. */
  readonly logitsAtOnce?: number;
  /** Stops between two runs. */
  readonly signal?: AbortSignal;
}

/**
 * What every layer predicts at every position of a prompt. The model runs once; then the streams go through its head a
 * few positions at a time, so that no run holds more than a few million logits. Clamps on `finalNorm` and `logits` are
 * no part of it. Throws where a site is not a residual stream, or `target` or `top` is out of range.
 */
export async function logitLens(model: Model, prompt: Prompt, options: LensOptions = {}): Promise<Lens> {
  const { top = 5, target, bos, logitsAtOnce = 2 ** 22, signal } = options;
  const { layers, vocabulary } = model.config;
  checkCount(top, vocabulary);
  if (target !== undefined) checkToken(target, vocabulary, "the target");
  const sites = streamSites(model, options.sites ?? ["embed", "layers.*.residPost"]);
  const final = `layers.${layers - 1}.residPost`;
  const streams = sites.includes(final) ? sites : [...sites, final];
  const recording = await model.record(prompt, streams, bos === undefined ? {} : { bos });
  const [tokens] = recording.tokens as [Token[]];
  const found = sites.map((site) => ({ site, positions: new Array<LensPosition>(tokens.length) }));
  const count = Math.max(1, Math.min(tokens.length, Math.floor(logitsAtOnce / (vocabulary * streams.length))));
  for (let from = 0; from < tokens.length; from += count) {
    signal?.throwIfAborted();
    const start = Math.min(from, tokens.length - count); // all runs have one size, and with it one compiled graph
    const outputs = await runHead(model, packStreams(recording, streams, start, count), {
      top,
      target,
      final: streams.indexOf(final),
    });
    found.forEach(({ positions }, layer) => {
      for (let p = 0; p < count; p++) positions[start + p] = readPosition(model, outputs, p, layer);
    });
  }
  return { tokens, layers: found };
}

function streamSites(model: Model, patterns: readonly string[]): string[] {
  const sites = patterns.flatMap((pattern) => wholeSites(model, pattern));
  const wrong = sites.find(
    ({ axes, shape }) => axes.join() !== "row,position,channel" || shape[2] !== model.config.width,
  );
  if (wrong !== undefined)
    throw usageError(
      `${wrong.name} is not a residual stream: the lens reads [row, position, channel ${model.config.width}]`,
    );
  if (sites.length === 0) throw usageError("the lens needs at least one site");
  return [...new Set(sites.map(({ name }) => name))];
}

/** `count` positions of every stream, [positions, streams, width]. */
function packStreams(
  recording: Recording,
  streams: readonly string[],
  start: number,
  count: number,
): Tensor<"float32"> {
  const values = streams.map((site) => recorded(recording, site) as Tensor<"float32">);
  const width = values[0]?.shape[2] as number;
  const data = new Float32Array(count * streams.length * width);
  for (let p = 0; p < count; p++)
    values.forEach((value, layer) => {
      const from = (start + p) * width;
      data.set(value.data.subarray(from, from + width), (p * streams.length + layer) * width);
    });
  return { dtype: "float32", shape: [count, streams.length, width], data };
}

interface HeadRun {
  readonly top: number;
  readonly target: number | undefined;
  /** Which of the streams is the final one. */
  readonly final: number;
}

/** The reduced logits of streams [positions, streams, width]: `best` and `probabilities` [..., top], `kl`, `rank`, `probability`. */
function runHead(model: Model, streams: Tensor, { top, target, final }: HeadRun): Promise<Record<string, Tensor>> {
  const inputs = { streams, ...(target === undefined ? {} : { target: tensorOf("int64", [1], [target]) }) };
  const anyPrompt = [[0]]; // the graph reads the streams and no tokens
  return model.compute(
    anyPrompt,
    (context, values) => {
      const logits = unembed(context, model.config, values.streams as Value);
      const logP = logProbabilities(logits);
      const kl = divergence(slice(logP, 1, final, final + 1), logP);
      const followed = values.target === undefined ? {} : follow(logits, logP, values.target);
      return { ...likeliest(logP, top), kl, ...followed };
    },
    { inputs },
  );
}

/** A token's rank (1 and the number of larger logits) and probability, [...]. */
function follow(logits: Value, logP: Value, target: Value): { rank: Value; probability: Value } {
  const larger = cast(greater(logits, gather(logits, target, -1)), "float32");
  return { rank: add(reduceSum(larger, -1), 1), probability: probabilityOf(logP, target) };
}

function readPosition(
  { tokenizer }: Model,
  outputs: Readonly<Record<string, Tensor>>,
  position: number,
  layer: number,
): LensPosition {
  const at = (name: string) => row(row(outputs[name] as Tensor, position), layer);
  const number = (name: string) => Number(at(name).data[0]);
  return {
    top: readTokens(tokenizer, { best: at("best"), probabilities: at("probabilities") }),
    ...(outputs.rank === undefined ? {} : { target: { rank: number("rank"), probability: number("probability") } }),
    kl: number("kl"),
  };
}

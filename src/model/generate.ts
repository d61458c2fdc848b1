/**
 * Generation with a cache of keys and values. A clamp acts on each position once, when it is first computed, and its
 * effect stays in the cache; `-1` is the newest position at each step.
 */
import { setImmediate } from "node:timers/promises";
import { usageError } from "../errors.js";
import { random, row, type Tensor, tensorOf } from "../runtime/index.js";
import { cachedSites, createCache, type KeyValueCache } from "./cache.js";
import { checkFinite, type PreparedCall, prepareCall, runPrompt, type ViewState } from "./core.js";
import { decoderInputs } from "./decoder/decoder.js";
import type { Want } from "./edit.js";
import { checkSampling, type SamplingOptions, sample } from "./sampling.js";
import type { Part } from "./sites/reference.js";
import { positions, promptRows, type Rows } from "./sites/rows.js";
import type { StreamDecoder } from "./tokenizer/index.js";

export interface GenerateOptions extends SamplingOptions {
  /** Most tokens to add; 64 unless given. */
  readonly maxTokens?: number;
  /** Seed of the draws; 0 unless given. Row r uses stream r. */
  readonly seed?: number;
  /** Texts that end the continuation; they are not part of it. The model's end-of-text tokens end it too. */
  readonly stop?: readonly string[];
  /** Go on past the model's end-of-text tokens. Off unless given. */
  readonly ignoreEnd?: boolean;
  /** Called with each piece of text as soon as it is certain. */
  readonly stream?: (piece: { readonly row: number; readonly id: number; readonly text: string }) => void;
  /** Keep the logits of every step. */
  readonly logits?: boolean;
  readonly signal?: AbortSignal;
}

/** Why a continuation ended: a stop text, an end-of-text token, `maxTokens`, or the model's context. */
export type FinishReason = "stop" | "end" | "length" | "context";

export interface Generation {
  /** Ids of the continuation; an end-of-text token is not part of it. */
  readonly ids: readonly number[];
  readonly text: string;
  readonly finish: FinishReason;
  /** Continued tokens a second, over all rows, from the first token on. */
  readonly tokensPerSecond: number;
  /** Logits of each step, [vocabulary], where asked for. */
  readonly logits?: readonly Tensor<"float32">[];
}

/** One row while it grows. */
interface Growing {
  readonly ids: number[];
  readonly logits: Tensor<"float32">[];
  readonly decoder: StreamDecoder;
  text: string;
  /** How much of the text has been streamed. */
  streamed: number;
  finish: FinishReason | undefined;
}

/** Continues every prompt (lists of ids) until each has ended. */
export async function generate(
  view: ViewState,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions = {},
): Promise<Generation[]> {
  const { maxTokens = 64, seed = 0 } = options;
  checkSampling(options);
  if (!Number.isInteger(maxTokens) || maxTokens < 0)
    throw usageError(`maxTokens must be a whole number of at least 0, not ${maxTokens}`);
  const { core } = view;
  const growing = prompts.map(
    (): Growing => ({
      ids: [],
      logits: [],
      decoder: core.tokenizer.decoder({ continuing: true }),
      text: "",
      streamed: 0,
      finish: undefined,
    }),
  );
  const draws = prompts.map((_, stream) => random(seed, stream));
  let rows = promptRows(prompts.map((ids) => ids.length));
  const cache = createCache(core.config, prompts.length);
  const wants = generationWants(view);
  let started = performance.now();
  let outputs: Record<string, Tensor> | undefined;
  let step: PreparedCall | undefined;
  for (let count = 0; count < maxTokens && growing.some(isGrowing); count++) {
    options.signal?.throwIfAborted();
    if (outputs === undefined) {
      outputs = await runPrompt(prepareCall(view, "prompt", { wants }), prompts, rows, { open: true });
    } else {
      step ??= prepareCall(view, "cached", { wants });
      rows = nextRows(rows, cache, growing);
      outputs = await runStep(step, growing, rows, cache);
    }
    cache.append(outputs);
    const logits = outputs.logits as Tensor<"float32">;
    growing.forEach((own, r) => {
      if (own.finish === undefined)
        extend(own, r, row(logits, r), draws[r] as ReturnType<typeof random>, view, rows, options);
    });
    if (count === 0) started = performance.now();
    await setImmediate(); // lets timers, streams and Ctrl-C have their turn: the runtime blocks while it runs
  }
  const seconds = (performance.now() - started) / 1000;
  const continued = growing.reduce((sum, { ids }) => sum + Math.max(0, ids.length - 1), 0);
  return growing.map((own, r) => finished(own, r, seconds > 0 ? continued / seconds : 0, options));
}

const isGrowing = ({ finish }: Growing) => finish === undefined;

/** New rows of keys and values in every layer, and the last position's logits. */
function generationWants({ core }: ViewState): Want[] {
  const all: Part = { kind: "all" };
  const last: Part = { kind: "index", index: -1 };
  const rows = cachedSites(core.config).map((site): Want => ({ name: site, site, parts: [all, all, all, all] }));
  return [...rows, { name: "logits", site: "logits", parts: [all, last, all] }];
}

/** Rows one token longer. Those that have ended stay as long as they are: they must not grow past the model's context. */
function nextRows({ lengths }: Rows, cache: KeyValueCache, growing: readonly Growing[]): Rows {
  const longer = lengths.map((length, r) => (isGrowing(growing[r] as Growing) ? length + 1 : length));
  return { lengths: longer, columns: 1, keyColumns: cache.columns + 1 };
}

async function runStep(
  step: PreparedCall,
  growing: readonly Growing[],
  rows: Rows,
  cache: KeyValueCache,
): Promise<Record<string, Tensor>> {
  const past = rows.keyColumns - 1;
  const pastRows: Rows = { lengths: rows.lengths.map((length) => length - 1), columns: past, keyColumns: past };
  const newest = growing.map(({ ids }) => ids[ids.length - 1] ?? 0);
  const lent = cache.feeds();
  const feeds = {
    [decoderInputs.ids]: tensorOf("int64", [growing.length, 1], newest),
    [decoderInputs.positions]: positions(rows),
    [decoderInputs.pastPositions]: positions(pastRows),
    ...lent,
    ...step.feeds(rows, { open: true }),
  };
  const outputs = await step.program.run(feeds, { lend: Object.keys(lent) });
  checkFinite(Object.fromEntries(Object.entries(outputs).filter(([name]) => !(name in lent)))); // the cache was checked row by row
  return outputs;
}

function extend(
  own: Growing,
  index: number,
  logits: Tensor<"float32">,
  draws: ReturnType<typeof random>,
  { core }: ViewState,
  rows: Rows,
  options: GenerateOptions,
): void {
  if (options.logits) own.logits.push(logits);
  const id = sample(logits.data, options, draws);
  if (!options.ignoreEnd && core.tokenizer.eos.includes(id)) {
    own.finish = "end";
    return;
  }
  own.ids.push(id);
  emit(own, index, id, own.decoder.push(id), options);
  if (own.finish === undefined && (rows.lengths[index] as number) + 1 > core.config.context) own.finish = "context";
}

/** Adds a piece of text; a stop text ends the row and is cut off. What may begin one is not streamed before it is certain. */
function emit(own: Growing, index: number, id: number, piece: string, { stop = [], stream }: GenerateOptions): void {
  const before = own.text.length;
  own.text += piece;
  const cuts = stop
    .map((text) => (text === "" ? -1 : own.text.indexOf(text, Math.max(0, before - text.length))))
    .filter((at) => at >= 0);
  if (cuts.length > 0) {
    own.text = own.text.slice(0, Math.min(...cuts));
    own.finish = "stop";
  }
  const certain = own.text.length - (own.finish === undefined ? heldBack(own.text, stop) : 0);
  stream?.({ row: index, id, text: own.text.slice(own.streamed, certain) });
  own.streamed = Math.max(own.streamed, certain);
}

/** The length of the longest end of `text` that a stop text begins with. */
function heldBack(text: string, stop: readonly string[]): number {
  const begins = (length: number) =>
    stop.some((whole) => length < whole.length && text.endsWith(whole.slice(0, length)));
  let length = Math.max(0, ...stop.map((whole) => whole.length - 1));
  while (length > 0 && !begins(length)) length -= 1;
  return length;
}

function finished(own: Growing, index: number, tokensPerSecond: number, options: GenerateOptions): Generation {
  const rest = own.finish === "stop" ? "" : own.decoder.flush();
  own.finish ??= "length";
  const last = own.ids[own.ids.length - 1];
  if (last !== undefined && (rest !== "" || own.streamed < own.text.length)) emit(own, index, last, rest, options);
  const { ids, text, finish, logits } = own;
  return { ids, text, finish, tokensPerSecond, ...(options.logits ? { logits } : {}) };
}

/**
 * Pairs of prompts: what commands take that compare a clean prompt with a corrupt one. A pair differs in what is asked for,
 * and a metric tells which answer the model leans to: two tokens' logits, or any other metric's text.
 */
import type { Command } from "commander";
import { usageError } from "../errors.js";
import type { Model } from "../model/index.js";
import type { Context } from "./context.js";
import type { RunOptions } from "./options.js";
import { type FileRecord, type PromptInput, promptInput, promptLabel, promptTokens, readRecords } from "./prompts.js";
import { type Outcome, type RunRequest, runAll, tokenJson } from "./run.js";
import type { PatchResult } from "./schemas.js";
import { numberList } from "./values.js";

export interface PairOptions extends RunOptions, Partial<Answers> {
  readonly clean?: string;
  readonly corrupt?: string;
  readonly cleanIds?: readonly number[];
  readonly corruptIds?: readonly number[];
  readonly metric?: string;
  readonly out?: string;
}

interface Answers {
  readonly answer: string;
  readonly wrong: string;
}

/** A pair as it was given. */
interface Pair {
  readonly clean: PromptInput;
  readonly corrupt: PromptInput;
  /** The answers of both prompts, or a metric's text. */
  readonly asked: Answers | string;
}

/** One pair in one model. */
export interface PairRun {
  /** The model with the call's clamps. */
  readonly model: Model;
  /** Token ids. */
  readonly clean: readonly number[];
  readonly corrupt: readonly number[];
  /** The metric's text. */
  readonly metric: string;
  /** The answers for JSON, where they were given. */
  readonly answers: Pick<PatchResult, "answer" | "wrong">;
  /** What is asked and of which prompts, for captions. */
  readonly question: string;
  readonly label: string;
}

/** Adds the places that pairs can come from, and what is asked of them. */
export function addPairOptions(command: Command): void {
  command
    .option("--clean <text>", "the prompt whose activations count as right")
    .option("--corrupt <text>", "a prompt of as many tokens that gets another answer")
    .option("--clean-ids <numbers>", "token ids in place of --clean", numberList)
    .option("--corrupt-ids <numbers>", "token ids in place of --corrupt", numberList)
    .option("--answer <token>", "what the clean prompt answers: TEXT (with its space) or #id")
    .option("--wrong <token>", "what the corrupt prompt answers")
    .option("--metric <metric>", "what tells them apart, in place of the two logits' difference; as gradient --of")
    .option("--prompts <file>", 'many: JSONL of {"clean": ..., "corrupt": ..., "answer"?, "wrong"?, "metric"?}');
}

/** Takes a step for every pair of a call and prints what comes out. */
export async function runPairs(
  context: Context,
  request: RunRequest & { readonly options: PairOptions },
  step: (run: PairRun) => Promise<Outcome>,
): Promise<void> {
  const { options } = request;
  const many = options.prompts !== undefined;
  const pairs = many ? await pairsOf(options, context) : [pairOf(options)];
  const ready = (plain: Model) => pairs.map((pair) => pairIn(plain, pair, options));
  await runAll(context, { ...request, count: pairs.length, many, ready }, (model, pair) => step({ model, ...pair }));
}

/** The pair that the flags state. */
function pairOf({ clean, corrupt, cleanIds, corruptIds, ...options }: PairOptions): Pair {
  const one = (name: string, text?: string, numbers?: readonly number[]): PromptInput => {
    if ((text === undefined) === (numbers === undefined))
      throw usageError(`give --${name} or --${name}-ids, one of them`);
    return text === undefined ? { ids: numbers as readonly number[] } : { text };
  };
  const prompts = { clean: one("clean", clean, cleanIds), corrupt: one("corrupt", corrupt, corruptIds) };
  return { ...prompts, asked: askedBy(options, "give --answer and --wrong, one token each, or --metric") };
}

async function pairsOf(options: PairOptions, { stdin, signal }: Context): Promise<Pair[]> {
  const { prompts, clean, corrupt, cleanIds, corruptIds } = options;
  if ([clean, corrupt, cleanIds, corruptIds].some((given) => given !== undefined))
    throw usageError("give the prompts once: --prompts, or --clean and --corrupt");
  const pairs = (await readRecords(prompts as string, stdin, signal)).map((entry) => pairFrom(entry, options));
  if (pairs.length === 0) throw usageError(`${prompts} holds no pairs of prompts`);
  return pairs;
}

/** The pair of an entry of a file; what the entry does not ask, the flags do. */
function pairFrom({ value, where }: FileRecord, { answer, wrong, metric }: PairOptions): Pair {
  const entry = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const flags = entry.metric !== undefined ? {} : entry.answer === undefined ? { answer, wrong, metric } : { wrong };
  return {
    clean: promptInput(entry.clean, `"clean" in ${where}`),
    corrupt: promptInput(entry.corrupt, `"corrupt" in ${where}`),
    asked: askedBy(
      { ...flags, ...entry },
      `${where} needs "answer" and "wrong", one token each, or "metric" (or give --answer and --wrong, or --metric)`,
    ),
  };
}

/** What is asked of a pair. Throws `message` where that is not said, or twice. */
function askedBy({ answer, wrong, metric }: Readonly<Record<string, unknown>>, message: string): Pair["asked"] {
  if (typeof metric === "string" && answer === undefined && wrong === undefined) return metric;
  if (typeof answer === "string" && typeof wrong === "string" && metric === undefined) return { answer, wrong };
  throw usageError(message);
}

/** A pair as tokens of a model. */
function pairIn(model: Model, { clean, corrupt, asked }: Pair, options: PairOptions): Omit<PairRun, "model"> {
  const ids = (input: PromptInput) => promptTokens(model, input, options).map(({ id }) => id);
  const label = `${promptLabel(clean)} against ${promptLabel(corrupt)}`;
  const prompts = { clean: ids(clean), corrupt: ids(corrupt), label };
  if (typeof asked === "string") return { ...prompts, metric: asked, answers: {}, question: asked };
  const token = (text: string) => model.tokenizer.token(model.tokenizer.single(text));
  const [answer, wrong] = [token(asked.answer), token(asked.wrong)];
  return {
    ...prompts,
    metric: `logit(#${answer.id}) - logit(#${wrong.id})`,
    answers: { answer: tokenJson(answer), wrong: tokenJson(wrong) },
    question: `“${answer.text}” against “${wrong.text}”`,
  };
}

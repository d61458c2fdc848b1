/**
 * The frame of every command that runs prompts, or pairs of them: read them, open the model, put the clamps on, take the
 * step for each, and print one object, a list of them, or text and figures.
 */
import type { Figure } from "../figures/index.js";
import type { Model, Token } from "../model/index.js";
import type { ClampSpec } from "./clampSpec.js";
import { type Context, printJson, printText, withModel } from "./context.js";
import type { RunOptions } from "./options.js";
import { checkPicture, writePicture } from "./pictures.js";
import { promptLabel, promptTokens, readPrompts } from "./prompts.js";
import type { TokenJson } from "./schemas.js";

/** One prompt in one model. */
export interface Run {
  /** The model with the call's clamps. */
  readonly model: Model;
  /** The model as it was opened. */
  readonly plain: Model;
  readonly tokens: readonly Token[];
  readonly ids: readonly number[];
  /** The prompt, for captions. */
  readonly label: string;
}

/** What a command made of a prompt: its JSON without `model`, text for people, and pictures, the main one first. */
export interface Outcome {
  readonly result: object;
  readonly text: () => string | Promise<string>;
  readonly figures?: readonly Figure[];
}

/** What the flags of a call ask for. */
export interface RunRequest {
  readonly options: RunOptions & { readonly out?: string };
  readonly clamps: readonly ClampSpec[];
}

/** Takes a step for every prompt of a call and prints what comes out. */
export async function runEach(
  context: Context,
  { argument, ...request }: RunRequest & { readonly argument: string | undefined },
  step: (run: Run) => Promise<Outcome>,
): Promise<void> {
  const { options } = request;
  const { inputs, many } = await readPrompts({ argument, ...options }, context.stdin, context.signal);
  const ready = (plain: Model) => {
    const prompts = inputs.map((input) => {
      const tokens = promptTokens(plain, input, options);
      return { tokens, ids: tokens.map(({ id }) => id), label: promptLabel(input) };
    });
    plain.tokensAll(prompts.map(({ ids }) => ids));
    return prompts;
  };
  await runAll(context, { ...request, count: inputs.length, many, ready }, (model, prompt, plain) =>
    step({ model, plain, ...prompt }),
  );
}

interface Work<Item> extends RunRequest {
  readonly count: number;
  /** Whether results are a list. */
  readonly many: boolean;
  /** The `count` inputs of steps. Throws where one is wrong: then nothing has been run or printed yet. */
  readonly ready: (plain: Model) => readonly Item[];
}

/** Takes a step for every item, in a view of the model with the call's clamps, and prints what comes out. */
export async function runAll<Item>(
  context: Context,
  { options, clamps, count, many, ready }: Work<Item>,
  step: (model: Model, item: Item, plain: Model) => Promise<Outcome>,
): Promise<void> {
  await checkPicture(options.out, count);
  await withModel(context, options, async (plain) => {
    const model = await withClamps(plain, clamps);
    const outcomes: Outcome[] = [];
    for (const item of ready(plain)) {
      context.signal.throwIfAborted();
      const outcome = await step(model, item, plain);
      context.progress.end();
      if (!options.json) await printText(context, (outcomes.length > 0 ? "\n" : "") + (await outcome.text()));
      outcomes.push(outcome);
    }
    if (options.out !== undefined) await writeOutcomes(outcomes, options.out, context);
    const results = outcomes.map(({ result }) => result);
    if (options.json) await printJson(context, { model: model.identity, ...(many ? { results } : results[0]) });
  });
}

/** A view of the model with clamps; those are built only if there are any. */
export async function withClamps(model: Model, specs: readonly ClampSpec[]): Promise<Model> {
  if (specs.length === 0) return model;
  const { buildClamps } = await import("./clampBuild.js");
  return model.with(...(await buildClamps(specs, model)));
}

/** A page holds all figures; a picture the main one. */
async function writeOutcomes(outcomes: readonly Outcome[], path: string, { whole, progress }: Context): Promise<void> {
  const figures = outcomes.flatMap((outcome) => outcome.figures ?? []);
  await whole(() => writePicture(/\.html$/i.test(path) ? figures : figures.slice(0, 1), path));
  progress.notice(`wrote ${path}`);
}

/** A token as JSON has it. */
export function tokenJson({ id, text, bytes }: Pick<Token, "id" | "text" | "bytes">): TokenJson {
  return bytes === undefined ? { id, text } : { id, text, bytes };
}

/** Tokens as JSON has them. */
export function tokensJson(tokens: readonly Token[]): TokenJson[] {
  return tokens.map(tokenJson);
}

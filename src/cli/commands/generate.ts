/** `patchclamp generate`: continues prompts, printing text as soon as it is certain. */
import type { Command } from "commander";
import type { Context } from "../context.js";
import { addExample, addPromptOptions, addRunOptions, type RunOptions } from "../options.js";
import { tokenPrinter } from "../pictures.js";
import { type Run, runEach, tokensJson } from "../run.js";
import type { GenerateResult } from "../schemas.js";
import { withoutControls } from "../terminal.js";
import { finiteNumber, wholeNumber } from "../values.js";

interface Options extends RunOptions {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly stop?: readonly string[];
}

export function define(command: Command, context: Context): void {
  addPromptOptions(command);
  command
    .option("--max-tokens <count>", "most tokens to add", wholeNumber(0), 64)
    .option(
      "--temperature <number>",
      "0 takes the likeliest token; 1 draws from the model's own distribution",
      finiteNumber,
      0,
    )
    .option("--top-k <count>", "draw among the k likeliest tokens", wholeNumber(1))
    .option("--top-p <number>", "draw among the likeliest tokens that together reach this probability", finiteNumber)
    .option("--stop <texts...>", "texts that end the continuation and are not part of it");
  const clamps = addRunOptions(command);
  addExample(
    command,
    `patchclamp generate "Once upon a time" --max-tokens 40 --scale 'layers.20.residPost[:, -1]=1.5'`,
  );
  command.action((argument: string | undefined, options: Options) =>
    runEach(context, { argument, options, clamps: clamps() }, (run) => continuationOf(run, options, context)),
  );
}

async function continuationOf({ model, ids, tokens }: Run, options: Options, { stdout, progress, signal }: Context) {
  const { maxTokens, temperature, topK, topP, stop, seed, json } = options;
  if (!json) {
    const show = await tokenPrinter();
    progress.notice(`tokens: ${tokens.map(({ text }) => show(text)).join(" | ")}`);
  }
  // On a terminal, control characters are shown and not obeyed.
  const write = (text: string) => stdout.write(stdout.isTTY ? withoutControls(text) : text);
  const generation = await model.generate(ids, {
    maxTokens,
    temperature,
    seed,
    signal,
    ...(topK === undefined ? {} : { topK }),
    ...(topP === undefined ? {} : { topP }),
    ...(stop === undefined ? {} : { stop }),
    ...(json ? {} : { stream: ({ text }) => write(text) }),
  });
  const { text, finish, tokensPerSecond } = generation;
  const result: GenerateResult = {
    tokens: tokensJson(tokens),
    ids: generation.ids,
    text,
    tokensPerSecond,
    finish,
  };
  return { result, text: () => "\n" };
}

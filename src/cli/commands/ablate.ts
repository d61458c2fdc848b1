/** `patchclamp ablate`: how much the next token depends on each site, by taking it away. */
import type { Command } from "commander";
import { Option } from "commander";
import { usageError } from "../../errors.js";
import type { Ablation } from "../../explain/index.js";
import type { BarFigure } from "../../figures/index.js";
import type { Context } from "../context.js";
import { addExample, addPictureOption, addPromptOptions, addRunOptions, type RunOptions } from "../options.js";
import { terminalFigure } from "../pictures.js";
import { type PromptInput, promptInput, promptTokens, readRecords } from "../prompts.js";
import { type Run, runEach, tokenJson, tokensJson } from "../run.js";
import type { AblateResult } from "../schemas.js";
import { formatProbability } from "../terminal.js";
import { wholeNumber } from "../values.js";

interface Options extends RunOptions {
  readonly sites: readonly string[];
  readonly how: "zero" | "mean" | "resample";
  readonly referencePrompts?: string;
  readonly top: number;
  readonly out?: string;
}

export function define(command: Command, context: Context): void {
  addPromptOptions(command);
  command
    .requiredOption("--sites <globs...>", "sites or parts of them, each taken away on its own")
    .addOption(
      new Option("--how <way>", "what takes their place").choices(["zero", "mean", "resample"]).makeOptionMandatory(),
    )
    .option("--reference-prompts <file>", "prompts for mean and resample (default: the prompt itself)")
    .option("--top <count>", "tokens of each site in the JSON", wholeNumber(1), 5);
  addPictureOption(command);
  const clamps = addRunOptions(command);
  addExample(command, `patchclamp ablate "The capital of France is" --sites 'layers.*.mlp.out' --how mean`);
  command.action(async (argument: string | undefined, options: Options) => {
    if (options.how === "zero" && options.referencePrompts !== undefined)
      throw usageError("--reference-prompts goes with --how mean or resample, not zero");
    const reference = await referencePrompts(options, context);
    await runEach(context, { argument, options, clamps: clamps() }, (run) =>
      ablationOf(run, reference, options, context),
    );
  });
}

async function referencePrompts(
  { referencePrompts: path }: Options,
  context: Context,
): Promise<PromptInput[] | undefined> {
  if (path === undefined) return undefined;
  return (await readRecords(path, context.stdin, context.signal)).map(({ value, where }) => promptInput(value, where));
}

async function ablationOf(run: Run, reference: readonly PromptInput[] | undefined, options: Options, context: Context) {
  const { ablate } = await import("../../explain/index.js");
  const { sites, how, top, seed } = options;
  const ablation = await ablate(run.model, run.ids, {
    sites,
    how,
    top,
    seed,
    signal: context.signal,
    onProgress: (done, total) => context.progress.step("ablating", done, total, "runs"),
    ...(reference === undefined
      ? {}
      : { reference: reference.map((input) => promptTokens(run.plain, input, options).map(({ id }) => id)) }),
  });
  const figure = figureOf(ablation, run);
  return { result: ablationJson(ablation), text: () => terminalFigure(figure, context.stdout), figures: [figure] };
}

function ablationJson({ tokens, how, sites }: Ablation): AblateResult {
  return {
    tokens: tokensJson(tokens),
    how,
    sites: sites.map(({ site, kl, before, after, top }) => ({
      site,
      kl,
      before: { ...tokenJson(before), probability: before.probability },
      after,
      top: top.map((entry) => ({ ...tokenJson(entry), probability: entry.probability })),
    })),
  };
}

function figureOf({ how, sites }: Ablation, { label }: Run): BarFigure {
  const before = sites[0]?.before;
  const best = before === undefined ? "" : `; unablated: “${before.text}” ${formatProbability(before.probability)}`;
  return {
    kind: "bar",
    title: `${how} ablation of ${sites.length} sites`,
    subtitle: label + best,
    bars: sites.map(({ site, kl, after, top }) => ({
      label: site,
      value: kl,
      note: `${formatProbability(after)} of it left; then “${top[0]?.text ?? ""}”`,
    })),
    labelAxis: { label: "site" },
    valueAxis: { label: "KL(original || ablated)", units: "nats" },
  };
}

/** `patchclamp patch`: which activations of a clean prompt bring its answer back into a corrupt one (activation patching). */
import type { Command } from "commander";
import { Option } from "commander";
import { usageError } from "../../errors.js";
import type { PatchingMap } from "../../explain/index.js";
import type { HeatmapFigure } from "../../figures/index.js";
import type { Model } from "../../model/index.js";
import type { ClampSpec } from "../clampSpec.js";
import { type Context, printJson, printText, withModel } from "../context.js";
import { addExample, addPictureOption, addRunOptions, type RunOptions } from "../options.js";
import { checkPicture, siteLabels, terminalFigure, writePicture } from "../pictures.js";
import { type FileRecord, type PromptInput, promptInput, promptLabel, promptTokens, readRecords } from "../prompts.js";
import { tokenJson, tokensJson, withClamps } from "../run.js";
import type { PatchResult } from "../schemas.js";
import { numberList } from "../values.js";

interface Options extends RunOptions {
  readonly clean?: string;
  readonly corrupt?: string;
  readonly cleanIds?: readonly number[];
  readonly corruptIds?: readonly number[];
  readonly answer?: string;
  readonly wrong?: string;
  readonly sites?: string;
  readonly by?: "position" | "head";
  readonly out?: string;
}

/** Two prompts that differ in what is asked for, and the two answers between which the model decides. */
interface Pair {
  readonly clean: PromptInput;
  readonly corrupt: PromptInput;
  readonly answer: string;
  readonly wrong: string;
}

export function define(command: Command, context: Context): void {
  command
    .option("--clean <text>", "the prompt whose activations are patched in")
    .option("--corrupt <text>", "the prompt that they are patched into, of as many tokens")
    .option("--clean-ids <numbers>", "token ids in place of --clean", numberList)
    .option("--corrupt-ids <numbers>", "token ids in place of --corrupt", numberList)
    .option("--answer <token>", "what the clean prompt answers: TEXT (with its space) or #id")
    .option("--wrong <token>", "what the corrupt prompt answers")
    .option("--prompts <file>", 'many: JSONL of {"clean": ..., "corrupt": ..., "answer"?: ..., "wrong"?: ...}')
    .option("--sites <glob>", "where to patch (default: layers.*.residPre, or layers.*.attn.z with --by head)")
    .addOption(new Option("--by <unit>", "patch single positions, or single heads").choices(["position", "head"]));
  addPictureOption(command);
  const clamps = addRunOptions(command);
  addExample(
    command,
    'patchclamp patch --clean "When Mary and John went out, John gave a drink to" \\',
    '  --corrupt "When Mary and John went out, Mary gave a drink to" --answer " Mary" --wrong " John"',
  );
  command.action((options: Options) => sweep(options, clamps(), context));
}

async function sweep(options: Options, clamps: readonly ClampSpec[], context: Context): Promise<void> {
  const many = options.prompts !== undefined;
  const pairs = many ? await pairsOf(options, context) : [pairOf(options)];
  const { out, json } = options;
  await checkPicture(out, pairs.length);
  await withModel(context, options, async (plain) => {
    const model = await withClamps(plain, clamps);
    const results: PatchResult[] = [];
    const figures: HeatmapFigure[] = [];
    for (const pair of pairs) {
      const result = await mapOf(model, pair, options, context);
      const figure = figureOf(result, pair);
      if (!json)
        await printText(context, (results.length > 0 ? "\n" : "") + (await terminalFigure(figure, context.stdout)));
      results.push(result);
      figures.push(figure);
    }
    if (out !== undefined) {
      await context.whole(() => writePicture(figures, out));
      context.progress.notice(`wrote ${out}`);
    }
    if (json) await printJson(context, { model: model.identity, ...(many ? { results } : results[0]) });
  });
}

/** The pair that the flags state. */
function pairOf({ clean, corrupt, cleanIds, corruptIds, ids, answer, wrong }: Options): Pair {
  if (ids !== undefined) throw usageError("patch takes --clean-ids and --corrupt-ids, not --ids");
  const one = (name: string, text?: string, numbers?: readonly number[]): PromptInput => {
    if ((text === undefined) === (numbers === undefined))
      throw usageError(`give --${name} or --${name}-ids, one of them`);
    return text === undefined ? { ids: numbers as readonly number[] } : { text };
  };
  if (answer === undefined || wrong === undefined) throw usageError("give --answer and --wrong, one token each");
  return { clean: one("clean", clean, cleanIds), corrupt: one("corrupt", corrupt, corruptIds), answer, wrong };
}

async function pairsOf(options: Options, { stdin, signal }: Context): Promise<Pair[]> {
  const { prompts, clean, corrupt, cleanIds, corruptIds } = options;
  if ([clean, corrupt, cleanIds, corruptIds].some((given) => given !== undefined))
    throw usageError("give the prompts once: --prompts, or --clean and --corrupt");
  const pairs = (await readRecords(prompts as string, stdin, signal)).map((entry) => pairFrom(entry, options));
  if (pairs.length === 0) throw usageError(`${prompts} holds no pairs of prompts`);
  return pairs;
}

function pairFrom({ value, where }: FileRecord, options: Options): Pair {
  const entry = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const { answer = options.answer, wrong = options.wrong } = entry;
  if (typeof answer !== "string" || typeof wrong !== "string")
    throw usageError(`${where} needs "answer" and "wrong", one token each (or give --answer and --wrong)`);
  return {
    clean: promptInput(entry.clean, `"clean" in ${where}`),
    corrupt: promptInput(entry.corrupt, `"corrupt" in ${where}`),
    answer,
    wrong,
  };
}

async function mapOf(model: Model, pair: Pair, options: Options, { progress, signal }: Context): Promise<PatchResult> {
  const { activationPatching, logitDifference } = await import("../../explain/index.js");
  const { tokenizer } = model;
  const ids = (input: PromptInput) => promptTokens(model, input, options).map(({ id }) => id);
  const [answer, wrong] = [tokenizer.single(pair.answer), tokenizer.single(pair.wrong)];
  const map = await activationPatching(model, {
    clean: ids(pair.clean),
    corrupt: ids(pair.corrupt),
    metric: logitDifference(answer, wrong),
    signal,
    onProgress: (done, total) => progress.step("patching", done, total, "runs"),
    ...(options.sites === undefined ? {} : { sites: options.sites }),
    ...(options.by === undefined ? {} : { by: options.by }),
  });
  progress.end();
  return mapJson(map, tokenJson(tokenizer.token(answer)), tokenJson(tokenizer.token(wrong)));
}

function mapJson(map: PatchingMap, answer: PatchResult["answer"], wrong: PatchResult["wrong"]): PatchResult {
  const { tokens, by, sites, positions, heads, metric, recovered } = map;
  return {
    tokens: tokensJson(tokens),
    answer,
    wrong,
    by,
    sites,
    positions,
    ...(heads === undefined ? {} : { heads }),
    metric: { clean: metric.clean, corrupt: metric.corrupt },
    recovered,
  };
}

function figureOf(result: PatchResult, { clean, corrupt }: Pair): HeatmapFigure {
  const { by, heads = [], positions, tokens, answer, wrong, recovered } = result;
  const columns =
    by === "head" ? heads.map(String) : positions.map((position) => tokens[position]?.text ?? `${position}`);
  const rows = siteLabels(result.sites);
  return {
    kind: "heatmap",
    title: `Activation patching: “${answer.text}” against “${wrong.text}”`,
    subtitle: `${promptLabel(clean)} into ${promptLabel(corrupt)}`,
    values: recovered,
    rows,
    columns,
    rowAxis: { label: rows.every((row) => /^\d+$/.test(row)) ? "layer" : "site" },
    columnAxis: { label: by === "head" ? "head" : "token" },
    valueAxis: { label: "share of the logit difference recovered" },
    scale: "diverging",
    rowOrder: "up",
  };
}

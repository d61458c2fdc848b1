/** `patchclamp patch`: which activations of a clean prompt bring its answer back into a corrupt one (activation patching). */
import { type Command, Option } from "commander";
import { usageError } from "../../errors.js";
import type { PatchingMap } from "../../explain/index.js";
import type { HeatmapFigure } from "../../figures/index.js";
import type { Context } from "../context.js";
import { addExample, addPictureOption, addRunOptions } from "../options.js";
import { addPairOptions, type PairOptions, type PairRun, runPairs } from "../pairs.js";
import { siteLabels, terminalFigure } from "../pictures.js";
import { tokensJson } from "../run.js";
import type { PatchResult } from "../schemas.js";
import { wholeNumber } from "../values.js";

interface Options extends PairOptions {
  readonly sites?: string;
  readonly by: "position" | "head";
  readonly estimate?: true;
  readonly steps?: number;
}

const defaultSites = { position: "layers.*.residPre", head: "layers.*.attn.z" };

export function define(command: Command, context: Context): void {
  addPairOptions(command);
  command
    .option("--sites <glob>", `where to patch (default: ${defaultSites.position}, or ${defaultSites.head} by head)`)
    .addOption(
      new Option("--by <unit>", "patch single positions, or single heads")
        .choices(["position", "head"])
        .default("position"),
    )
    .option("--estimate", "estimate all patches from one gradient in place of a run for each (attribution patching)")
    .option("--steps <count>", "points between the prompts at which it is averaged (default: 1)", wholeNumber(1));
  addPictureOption(command);
  const clamps = addRunOptions(command);
  addExample(
    command,
    'patchclamp patch --clean "When Mary and John went out, John gave a drink to" \\',
    '  --corrupt "When Mary and John went out, Mary gave a drink to" --answer " Mary" --wrong " John"',
  );
  command.action(async (options: Options) => {
    if (options.steps !== undefined && !options.estimate) throw usageError("--steps goes with --estimate");
    await runPairs(context, { options, clamps: clamps() }, (run) => mapOf(run, options, context));
  });
}

async function mapOf(run: PairRun, options: Options, { progress, signal, stdout }: Context) {
  const { activationPatching, attributionPatching } = await import("../../explain/index.js");
  const { by, sites = defaultSites[by], estimate = false, steps = 1 } = options;
  const { model, clean, corrupt, metric } = run;
  const onProgress = (done: number, total: number) => progress.step("patching", done, total, "runs");
  const request = { clean, corrupt, metric, sites, by, signal, onProgress };
  const map = await (estimate ? attributionPatching(model, { ...request, steps }) : activationPatching(model, request));
  const result = mapJson(map, run, estimate);
  const figure = figureOf(result, run);
  return { result, text: () => terminalFigure(figure, stdout), figures: [figure] };
}

function mapJson(map: PatchingMap, { metric: text, answers }: PairRun, estimated: boolean): PatchResult {
  const { tokens, by, sites, positions, heads, metric, recovered } = map;
  return {
    tokens: tokensJson(tokens),
    ...answers,
    estimated,
    by,
    sites,
    positions,
    ...(heads === undefined ? {} : { heads }),
    metric: { text, ...metric },
    recovered,
  };
}

function figureOf(result: PatchResult, { question, label, answers }: PairRun): HeatmapFigure {
  const { by, heads = [], positions, tokens, estimated, recovered } = result;
  const columns =
    by === "head" ? heads.map(String) : positions.map((position) => tokens[position]?.text ?? `${position}`);
  const rows = siteLabels(result.sites);
  const what = answers.answer === undefined ? "metric" : "logit difference";
  return {
    kind: "heatmap",
    title: `${estimated ? "Attribution patching" : "Activation patching"}: ${question}`,
    subtitle: label,
    values: recovered,
    rows,
    columns,
    rowAxis: { label: rows.every((row) => /^\d+$/.test(row)) ? "layer" : "site" },
    columnAxis: { label: by === "head" ? "head" : "token" },
    valueAxis: { label: `share of the ${what} recovered${estimated ? ", estimated" : ""}` },
    scale: "diverging",
    rowOrder: "up",
  };
}

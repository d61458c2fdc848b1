/** `patchclamp attention`: where heads look. */
import type { Command } from "commander";
import { usageError } from "../../errors.js";
import type { AttentionPatterns } from "../../explain/index.js";
import type { HeatmapFigure } from "../../figures/index.js";
import type { Context } from "../context.js";
import { addExample, addPictureOption, addPromptOptions, addRunOptions, type RunOptions } from "../options.js";
import { checkPicture, terminalFigure } from "../pictures.js";
import { type Run, runEach, tokensJson } from "../run.js";
import type { AttentionResult } from "../schemas.js";
import { numberList } from "../values.js";

interface Options extends RunOptions {
  readonly layer: readonly number[];
  readonly head?: readonly number[];
  readonly out?: string;
}

export function define(command: Command, context: Context): void {
  addPromptOptions(command);
  command
    .requiredOption("--layer <numbers>", "the layer, or several: 3 or 3,4", numberList)
    .option("--head <numbers>", "the head, or several (default: all)", numberList);
  addPictureOption(command);
  const clamps = addRunOptions(command);
  addExample(
    command,
    'patchclamp attention "When Mary and John went out, John gave" --layer 5 --head 1 --out head.png',
  );
  command.action((argument: string | undefined, options: Options) =>
    runEach(context, { argument, options, clamps: clamps() }, (run) => patternsOf(run, options, context)),
  );
}

async function patternsOf(run: Run, { layer, head, out }: Options, { stdout }: Context) {
  const { layers, heads } = run.model.config;
  checkNumbers("layer", layer, layers);
  if (head !== undefined) checkNumbers("head", head, heads);
  await checkPicture(out, layer.length * (head?.length ?? heads));
  const { attentionPatterns } = await import("../../explain/index.js");
  const patterns = await attentionPatterns(run.model, run.ids, {
    layers: layer,
    ...(head === undefined ? {} : { heads: head }),
  });
  const result = patternsJson(patterns);
  const figures = result.heads.map((entry) => figureOf(entry, run));
  const text = async () => (await Promise.all(figures.map((figure) => terminalFigure(figure, stdout)))).join("\n");
  return { result, text, figures };
}

function checkNumbers(what: string, numbers: readonly number[], count: number): void {
  const bad = numbers.find((number) => number >= count);
  if (bad !== undefined) throw usageError(`there is no ${what} ${bad}: the model has ${what}s 0 to ${count - 1}`);
}

function patternsJson({ tokens, heads }: AttentionPatterns): AttentionResult {
  const size = tokens.length;
  return {
    tokens: tokensJson(tokens),
    heads: heads.map(({ layer, head, pattern }) => ({
      layer,
      head,
      pattern: Array.from({ length: size }, (_, query) =>
        Array.from(pattern.data.subarray(query * size, (query + 1) * size), Number),
      ),
    })),
  };
}

function figureOf({ layer, head, pattern }: AttentionResult["heads"][number], { tokens, label }: Run): HeatmapFigure {
  const texts = tokens.map(({ text }) => text);
  return {
    kind: "heatmap",
    title: `Attention of layer ${layer}, head ${head}`,
    subtitle: label,
    // a query sees itself and what came before; what it cannot see has no value
    values: pattern.map((row, query) => row.map((value, key) => (key > query ? null : value))),
    rows: texts,
    columns: texts,
    rowAxis: { label: "from (query)" },
    columnAxis: { label: "to (key)" },
    valueAxis: { label: "attention" },
    domain: [0, 1],
  };
}

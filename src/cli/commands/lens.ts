/** `patchclamp lens`: what the model would say after every layer (the logit lens). */
import type { Command } from "commander";
import type { Lens } from "../../explain/index.js";
import type { TableFigure } from "../../figures/index.js";
import type { Context } from "../context.js";
import { addExample, addPictureOption, addPromptOptions, addRunOptions, type RunOptions } from "../options.js";
import { siteLabels, terminalFigure } from "../pictures.js";
import { type Run, runEach, tokenJson, tokensJson } from "../run.js";
import type { LensResult } from "../schemas.js";
import { wholeNumber } from "../values.js";

interface Options extends RunOptions {
  readonly top: number;
  readonly target?: string;
  readonly out?: string;
}

export function define(command: Command, context: Context): void {
  addPromptOptions(command);
  command
    .option("--top <count>", "likeliest tokens of each cell in the JSON", wholeNumber(1), 5)
    .option("--target <token>", "follow one token: its TEXT (with its space) or #id");
  addPictureOption(command);
  const clamps = addRunOptions(command);
  addExample(command, 'patchclamp lens "The capital of France is" --target " Paris" --out lens.html');
  command.action((argument: string | undefined, options: Options) =>
    runEach(context, { argument, options, clamps: clamps() }, (run) => lensOf(run, options, context)),
  );
}

async function lensOf(run: Run, { top, target }: Options, { stdout }: Context) {
  const { logitLens } = await import("../../explain/index.js");
  const id = target === undefined ? undefined : run.model.tokenizer.single(target);
  const lens = await logitLens(run.model, run.ids, { top, ...(id === undefined ? {} : { target: id }) });
  const figures = [topFigure(lens, run), ...(id === undefined ? [] : [targetFigure(lens, run, id)])];
  const text = async () => (await Promise.all(figures.map((figure) => terminalFigure(figure, stdout)))).join("\n");
  return { result: lensJson(lens), text, figures };
}

function lensJson({ tokens, layers }: Lens): LensResult {
  return {
    tokens: tokensJson(tokens),
    layers: layers.map(({ site, positions }) => ({
      site,
      positions: positions.map(({ top, target, kl }) => ({
        top: top.map((entry) => ({ ...tokenJson(entry), probability: entry.probability })),
        kl,
        ...(target === undefined ? {} : { target: { rank: target.rank, probability: target.probability } }),
      })),
    })),
  };
}

function frameOf({
  tokens,
  layers,
}: Lens): Pick<TableFigure, "kind" | "rows" | "columns" | "rowAxis" | "columnAxis" | "valueAxis"> {
  return {
    kind: "table",
    rows: siteLabels(layers.map(({ site }) => site)),
    columns: tokens.map(({ text }) => text),
    rowAxis: { label: "layer" },
    columnAxis: { label: "input token" },
    valueAxis: { label: "probability" },
  };
}

function topFigure(lens: Lens, run: Run): TableFigure {
  const cells = lens.layers.map(({ positions }) =>
    positions.map(({ top, kl }) => ({
      text: top[0]?.text ?? "",
      value: top[0]?.probability ?? null,
      note: `${top.map(({ text, probability }) => `${text} ${probability.toFixed(4)}`).join("\n")}\nKL(final || layer) ${kl.toFixed(3)} nats`,
    })),
  );
  const subtitle = `likeliest next token after each layer of ${run.model.identity.name}`;
  return { ...frameOf(lens), title: `Logit lens: ${run.label}`, subtitle, cells };
}

function targetFigure(lens: Lens, run: Run, target: number): TableFigure {
  const cells = lens.layers.map(({ positions }) =>
    positions.map((position) => ({
      text: `${position.target?.rank ?? ""}`,
      value: position.target?.probability ?? null,
    })),
  );
  const token = run.model.tokenizer.token(target).text;
  return { ...frameOf(lens), title: `Rank of “${token}” #${target}`, subtitle: `coloured by its probability`, cells };
}

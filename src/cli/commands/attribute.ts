/** `patchclamp attribute`: which heads and MLPs write the logit of a token (direct logit attribution). */
import type { Command } from "commander";
import type { Attribution } from "../../explain/index.js";
import type { BarFigure } from "../../figures/index.js";
import type { Context } from "../context.js";
import { addExample, addPictureOption, addPromptOptions, addRunOptions, type RunOptions } from "../options.js";
import { terminalFigure } from "../pictures.js";
import { type Run, runEach, tokenJson, tokensJson } from "../run.js";
import type { AttributeResult } from "../schemas.js";
import { wholeNumber } from "../values.js";

interface Options extends RunOptions {
  readonly target: string;
  readonly versus?: string;
  readonly position: number;
  readonly top: number;
  readonly out?: string;
}

export function define(command: Command, context: Context): void {
  addPromptOptions(command);
  command
    .requiredOption("--target <token>", "the token: its TEXT (with its space) or #id")
    .option("--versus <token>", "explain the difference of its logit from this token's")
    .option(
      "--position <number>",
      "position of the prediction; negatives count from the end",
      wholeNumber(Number.MIN_SAFE_INTEGER),
      -1,
    )
    .option("--top <count>", "terms in the figure, largest first (the JSON holds all)", wholeNumber(1), 30);
  addPictureOption(command);
  const clamps = addRunOptions(command);
  addExample(command, 'patchclamp attribute "The capital of France is" --target " Paris" --versus " Rome"');
  command.action((argument: string | undefined, options: Options) =>
    runEach(context, { argument, options, clamps: clamps() }, (run) => attributionOf(run, options, context)),
  );
}

async function attributionOf(run: Run, { target, versus, position, top }: Options, { stdout }: Context) {
  const { directLogitAttribution } = await import("../../explain/index.js");
  const { tokenizer } = run.model;
  const attribution = await directLogitAttribution(run.model, run.ids, {
    target: tokenizer.single(target),
    position,
    ...(versus === undefined ? {} : { versus: tokenizer.single(versus) }),
  });
  const result = attributionJson(attribution, run);
  const figure = figureOf(result, run, top);
  return { result, text: () => terminalFigure(figure, stdout), figures: [figure] };
}

function attributionJson(attribution: Attribution, { model, tokens }: Run): AttributeResult {
  const { target, versus, position, total, terms } = attribution;
  return {
    tokens: tokensJson(tokens),
    target: tokenJson(model.tokenizer.token(target)),
    ...(versus === undefined ? {} : { versus: tokenJson(model.tokenizer.token(versus)) }),
    position,
    total,
    terms: terms.map(({ name, kind, layer, head, value }) => ({
      name,
      kind,
      value,
      ...(layer === undefined ? {} : { layer }),
      ...(head === undefined ? {} : { head }),
    })),
  };
}

function figureOf({ target, versus, total, terms }: AttributeResult, { label }: Run, count: number): BarFigure {
  const largest = [...terms].sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, count);
  const of =
    versus === undefined ? `logit of “${target.text}”` : `logit of “${target.text}” less that of “${versus.text}”`;
  return {
    kind: "bar",
    title: `What writes the ${of}: ${total.toFixed(3)}`,
    subtitle: `${label}: ${largest.length} of ${terms.length} terms, largest first`,
    bars: largest.map(({ name, value }) => ({ label: name, value })),
    labelAxis: { label: "component" },
    valueAxis: { label: "contribution", units: "logits" },
  };
}

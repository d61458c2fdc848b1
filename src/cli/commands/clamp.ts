/** `patchclamp clamp`: what changes in the next token when activations are held at other values. */
import type { Command } from "commander";
import { usageError } from "../../errors.js";
import type { ClampEffect, TokenProbability } from "../../explain/index.js";
import type { Context } from "../context.js";
import { addExample, addPromptOptions, addRunOptions, type RunOptions } from "../options.js";
import { tokenPrinter } from "../pictures.js";
import { type Run, runEach, tokenJson, tokensJson } from "../run.js";
import type { ClampResult } from "../schemas.js";
import { alignColumns, formatProbability } from "../terminal.js";
import { wholeNumber } from "../values.js";

interface Options extends RunOptions {
  readonly top: number;
}

export function define(command: Command, context: Context): void {
  addPromptOptions(command);
  command.option("--top <count>", "tokens to show", wholeNumber(1), 5);
  const clamps = addRunOptions(command);
  addExample(command, `patchclamp clamp "The capital of France is" --zero 'layers.11.attn.z[head=3]'`);
  command.action((argument: string | undefined, options: Options) => {
    if (clamps().length === 0) throw usageError("no clamp was given, such as --zero 'layers.3.attn.z[head=1]'");
    return runEach(context, { argument, options, clamps: clamps() }, (run) => effectOf(run, options));
  });
}

async function effectOf({ plain, model, ids }: Run, { top }: Options) {
  const { clampEffect } = await import("../../explain/index.js");
  const effect = await clampEffect(plain, model, ids, { top });
  return { result: effectJson(effect), text: () => describe(effect) };
}

function effectJson({ tokens, before, after, kl, movers }: ClampEffect): ClampResult {
  const top = (entries: readonly TokenProbability[]) => ({
    top: entries.map((entry) => ({ ...tokenJson(entry), probability: entry.probability })),
  });
  return {
    tokens: tokensJson(tokens),
    before: top(before),
    after: top(after),
    kl,
    movers: movers.map((mover) => ({ ...tokenJson(mover), before: mover.before, after: mover.after })),
  };
}

async function describe({ tokens, before, after, kl, movers }: ClampEffect): Promise<string> {
  const show = await tokenPrinter();
  const rows = before.map((entry, i) => {
    const other = after[i];
    return [
      formatProbability(entry.probability),
      show(entry.text),
      other === undefined ? "" : formatProbability(other.probability),
      other === undefined ? "" : show(other.text),
    ];
  });
  const moved = movers.map((mover) => [
    formatProbability(mover.before),
    "to",
    formatProbability(mover.after),
    show(mover.text),
  ]);
  return (
    `tokens: ${tokens.map(({ text }) => show(text)).join(" | ")}\n\n` +
    `${alignColumns([["before", "", "after", ""], ...rows])}\n` +
    `largest changes\n${alignColumns(moved)}\nKL(before || after): ${kl.toPrecision(4)} nats\n`
  );
}

/** `patchclamp record`: values of sites into a `.safetensors` file. */
import type { Command } from "commander";
import { usageError } from "../../errors.js";
import type { Model, Recording } from "../../model/index.js";
import { type Context, printJson, printText, withModel } from "../context.js";
import { addExample, addPromptOptions, addRunOptions, type RunOptions } from "../options.js";
import { checkFolder } from "../pictures.js";
import { promptTokens, readPrompts } from "../prompts.js";
import { tokensJson, withClamps } from "../run.js";
import { alignColumns, formatBytes } from "../terminal.js";
import { byteCount } from "../values.js";

interface Options extends RunOptions {
  readonly sites: readonly string[];
  readonly out: string;
  readonly maxBytes: number;
}

export function define(command: Command, context: Context): void {
  addPromptOptions(command);
  command
    .requiredOption("--sites <globs...>", "sites or parts of them, such as 'layers.*.mlp.act[:, -1]'")
    .requiredOption("--out <file.safetensors>", "the file; several prompts lie in it as one batch, padded on the left")
    .option("--max-bytes <bytes>", "most that the recording may hold, such as 8GiB", byteCount, 4 * 2 ** 30);
  const clamps = addRunOptions(command);
  addExample(
    command,
    `patchclamp record "The capital of France is" --sites 'layers.*.residPost' --out france.safetensors`,
  );
  command.action(async (argument: string | undefined, options: Options) => {
    if (!/\.safetensors$/i.test(options.out))
      throw usageError(`--out ${options.out}: the name must end in .safetensors`);
    await checkFolder(options.out);
    const { inputs, many } = await readPrompts({ argument, ...options }, context.stdin, context.signal);
    await withModel(context, options, async (plain) => {
      const model = await withClamps(plain, clamps());
      const prompts = inputs.map((input) => promptTokens(plain, input, options).map(({ id }) => id));
      announce(model, prompts, options, context);
      const recording = await model.record(prompts, options.sites, { maxBytes: options.maxBytes });
      const { saveRecording } = await import("../../model/index.js");
      await context.whole(() => saveRecording(recording, options.out));
      if (options.json) await printJson(context, recordJson(recording, options.out, many));
      else await printText(context, describe(recording, options.out));
    });
  });
}

/** Says what the recording will hold, and refuses one that is too large. */
function announce(
  model: Model,
  prompts: readonly number[][],
  { sites, maxBytes }: Options,
  { progress }: Context,
): void {
  const bytes = model.recordingBytes(prompts, sites);
  progress.notice(`the recording will hold ${formatBytes(bytes)}`);
  if (bytes <= maxBytes) return;
  throw usageError(
    `the recording would hold ${formatBytes(bytes)}, more than the ${formatBytes(maxBytes)} allowed: ` +
      `ask for fewer sites or parts of them, or give --max-bytes ${bytes}`,
  );
}

function shapesOf({ sites }: Recording): Record<string, readonly number[]> {
  return Object.fromEntries(Object.entries(sites).map(([name, { shape }]) => [name, shape]));
}

function recordJson(recording: Recording, file: string, many: boolean): object {
  const results = recording.tokens.map((tokens) => ({ tokens: tokensJson(tokens) }));
  return { model: recording.model, file, sites: shapesOf(recording), ...(many ? { results } : results[0]) };
}

function describe(recording: Recording, file: string): string {
  const rows = Object.entries(shapesOf(recording)).map(([name, shape]) => [name, `[${shape.join(", ")}]`]);
  const tokens = recording.tokens.reduce((sum, line) => sum + line.length, 0);
  return `${alignColumns(rows)}${rows.length} tensors of ${tokens} tokens in ${file}\n`;
}

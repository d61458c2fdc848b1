/** `patchclamp record`: values of sites into a `.safetensors` file. */
import type { Command } from "commander";
import { type Context, withModel } from "../context.js";
import { addExample, addPromptOptions, addRunOptions, type RunOptions } from "../options.js";
import { promptTokens, readPrompts } from "../prompts.js";
import { checkBytes, checkTensorFile, writeTensors } from "../recordings.js";
import { withClamps } from "../run.js";
import { formatBytes } from "../terminal.js";
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
    await checkTensorFile(options.out);
    const { inputs, many } = await readPrompts({ argument, ...options }, context.stdin, context.signal);
    await withModel(context, options, async (plain) => {
      const model = await withClamps(plain, clamps());
      const prompts = inputs.map((input) => promptTokens(plain, input, options).map(({ id }) => id));
      const bytes = checkBytes(model, prompts, { ...options, what: "recording" });
      context.progress.notice(`the recording will hold ${formatBytes(bytes)}`);
      const recording = await model.record(prompts, options.sites, { maxBytes: options.maxBytes });
      await writeTensors(context, recording, { ...options, many });
    });
  });
}

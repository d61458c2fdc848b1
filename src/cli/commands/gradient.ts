/** `patchclamp gradient`: gradients of a metric at sites into a `.safetensors` file. */
import type { Command } from "commander";
import { type Context, withModel } from "../context.js";
import { addExample, addPromptOptions, addRunOptions, type RunOptions } from "../options.js";
import { promptTokens, readPrompts } from "../prompts.js";
import { checkBytes, checkTensorFile, writeTensors } from "../recordings.js";
import { withClamps } from "../run.js";
import { byteCount } from "../values.js";

interface Options extends RunOptions {
  readonly of: string;
  readonly at: readonly string[];
  readonly checkpoint: readonly string[];
  readonly out: string;
  readonly maxBytes: number;
}

export function define(command: Command, context: Context): void {
  addPromptOptions(command);
  command
    .requiredOption(
      "--of <metric>",
      "such as 'logit( Paris)-0.5*prob(#7)[-2]': logit, logprob, prob of a token, or an element of a site",
    )
    .requiredOption("--at <globs...>", "sites or parts of them, such as 'layers.*.residPost'")
    .requiredOption("--out <file.safetensors>", "the file: tensors named and shaped as their sites")
    .option("--checkpoint <globs...>", "keep only these sites for the gradient and compute the rest again", [])
    .option("--max-bytes <bytes>", "most that the gradients may hold, such as 8GiB", byteCount, 4 * 2 ** 30);
  const clamps = addRunOptions(command);
  addExample(
    command,
    `patchclamp gradient "The capital of France is" --of 'logit( Paris)-logit( London)' \\`,
    `  --at 'layers.*.residPost' --out paris.safetensors`,
  );
  command.action(async (argument: string | undefined, options: Options) => {
    const { of, at, checkpoint, maxBytes } = options;
    await checkTensorFile(options.out);
    const { inputs, many } = await readPrompts({ argument, ...options }, context.stdin, context.signal);
    await withModel(context, options, async (plain) => {
      const model = await withClamps(plain, clamps());
      const prompts = inputs.map((input) => promptTokens(plain, input, options).map(({ id }) => id));
      checkBytes(model, prompts, { sites: at, maxBytes, what: "file" });
      const gradients = await model.gradient(prompts, { of, at, checkpoint, maxBytes });
      await writeTensors(context, gradients, { ...options, many, values: gradients.values });
    });
  });
}

/** `patchclamp cache`: what the cache folder holds, and how to be rid of it. */
import type { Command } from "commander";
import {
  type CachedModel,
  type ConvertedWeights,
  cachedModels,
  cacheFolder,
  clearCache,
  convertedWeights,
} from "../../model/index.js";
import { cachedData } from "../../sources/index.js";
import { type Context, printJson, printText } from "../context.js";
import { addExample, addOutputOptions, type OutputOptions } from "../options.js";
import type { CacheList } from "../schemas.js";
import { alignColumns, formatBytes } from "../terminal.js";

interface ClearOptions extends OutputOptions {
  readonly weights?: true;
  readonly models?: true;
}

export function define(command: Command, context: Context): void {
  addOutputOptions(command);
  addExample(command, "patchclamp cache", "patchclamp cache clear --weights");
  command.action(async ({ json }: OutputOptions) => {
    const list = listed([...(await cachedModels()), ...(await cachedData())], await convertedWeights());
    await (json ? printJson(context, list) : printText(context, describe(list)));
  });
  const clear = command
    .command("clear")
    .summary("remove what the cache holds")
    .description("Removes downloads and converted weights; both come back when they are needed.")
    .option("--weights", "only weights converted to float32")
    .option("--models", "only downloads");
  addOutputOptions(clear);
  addExample(clear, "patchclamp cache clear --weights");
  clear.action(async ({ weights, models }: ClearOptions, own: Command) => {
    const both = weights === models;
    const removed = await clearCache({ models: both || models === true, weights: both || weights === true });
    const cleared = listed(removed.models, removed.weights);
    // `--json` and `--debug` of the outer command take these words first
    const { json } = own.optsWithGlobals<OutputOptions>();
    await (json
      ? printJson(context, cleared)
      : printText(context, `${describe(cleared)}removed from ${cleared.folder}\n`));
  });
}

function listed(models: readonly CachedModel[], weights: readonly ConvertedWeights[]): CacheList {
  return {
    folder: cacheFolder(),
    bytes: [...models, ...weights].reduce((sum, { bytes }) => sum + bytes, 0),
    models: models.map(({ name, source, bytes }) => ({ name, source, bytes })),
    weights: weights.map(({ path, source, bytes }) => ({ file: path, source, bytes })),
  };
}

function describe({ folder, bytes, models, weights }: CacheList): string {
  const rows = [
    ...models.map((model) => [formatBytes(model.bytes), "model", model.source]),
    ...weights.map((file) => [formatBytes(file.bytes), "weights", file.source]),
  ];
  return `${alignColumns(rows)}${formatBytes(bytes)} in ${folder}\n`;
}

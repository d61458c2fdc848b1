/** `patchclamp cache`: what the cache folder holds, and how to be rid of it. */
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { failure, messageOf } from "../../errors.js";
import { openWeights } from "../../model/formats/index.js";
import { type CachedModel, cachedModels, cacheFolder } from "../../model/sources/index.js";
import { type Context, printJson, printText } from "../context.js";
import { addExample, addOutputOptions, type OutputOptions } from "../options.js";
import type { CacheClear, CacheList } from "../schemas.js";
import { alignColumns, formatBytes } from "../terminal.js";

interface ClearOptions extends OutputOptions {
  readonly weights?: true;
  readonly models?: true;
}

interface WeightsFile {
  readonly path: string;
  readonly source: string;
  readonly bytes: number;
}

export function define(command: Command, context: Context): void {
  addOutputOptions(command);
  addExample(command, "patchclamp cache", "patchclamp cache clear --weights");
  command.action(async ({ json }: OutputOptions) => {
    const list = listed(await cachedModels(), await weightFiles());
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
    const cleared = await remove(
      both || models ? await cachedModels() : [],
      both || weights ? await weightFiles() : [],
    );
    // `--json` and `--debug` of the outer command take these words first
    const { json } = own.optsWithGlobals<OutputOptions>();
    await (json
      ? printJson(context, cleared)
      : printText(context, `${describe(cleared)}removed from ${cleared.folder}\n`));
  });
}

/** Files of converted weights, by the form of their names: nothing else in the folder is ours to touch. */
async function weightFiles(): Promise<WeightsFile[]> {
  const folder = join(cacheFolder(), "weights");
  const names = (await readdir(folder).catch(() => [])).filter((name) =>
    /^[0-9a-f]{64}-[0-9a-f-]+\.safetensors$/.test(name),
  );
  const found = await Promise.all(names.sort().map((name) => describeWeights(join(folder, name))));
  return found.filter((file) => file !== undefined);
}

/** Undefined where another process was quicker to remove it. */
async function describeWeights(path: string): Promise<WeightsFile | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return undefined;
  const source = await openWeights(path).then(
    ({ metadata }) => metadata.source ?? "",
    (error: unknown) => `damaged: ${messageOf(error)}`,
  );
  return { path, source, bytes: found.size };
}

function listed(models: readonly CachedModel[], weights: readonly WeightsFile[]): CacheList {
  return {
    folder: cacheFolder(),
    bytes: [...models, ...weights].reduce((sum, { bytes }) => sum + bytes, 0),
    models: models.map(({ name, source, bytes }) => ({ name, source, bytes })),
    weights: weights.map(({ path, source, bytes }) => ({ file: path, source, bytes })),
  };
}

async function remove(models: readonly CachedModel[], weights: readonly WeightsFile[]): Promise<CacheClear> {
  for (const path of [...models.map(({ folder }) => folder), ...weights.map((file) => file.path)]) {
    await rm(path, { recursive: true, force: true }).catch((error: unknown) => {
      throw failure(`cannot remove ${path} (${messageOf(error)})`, error);
    });
  }
  return listed(models, weights);
}

function describe({ folder, bytes, models, weights }: CacheList): string {
  const rows = [
    ...models.map((model) => [formatBytes(model.bytes), "model", model.source]),
    ...weights.map((file) => [formatBytes(file.bytes), "weights", file.source]),
  ];
  return `${alignColumns(rows)}${formatBytes(bytes)} in ${folder}\n`;
}

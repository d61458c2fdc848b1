/** `patchclamp models`: the models that have a short name, and what this machine holds. */
import type { Command } from "commander";
import { type CachedModel, cachedModels, catalogue } from "../../sources/index.js";
import { type Context, printJson, printText } from "../context.js";
import { addExample, addOutputOptions, type OutputOptions } from "../options.js";
import type { ModelList } from "../schemas.js";
import { alignColumns, formatBytes } from "../terminal.js";

export function define(command: Command, context: Context): void {
  addOutputOptions(command);
  addExample(command, "patchclamp models");
  command.action(async ({ json }: OutputOptions) => {
    const list = modelList(await cachedModels());
    await (json ? printJson(context, list) : printText(context, describe(list)));
  });
}

function modelList(held: readonly CachedModel[]): ModelList {
  const named = new Set(catalogue().flatMap(({ places }) => places));
  const brief = ({ source, bytes }: CachedModel) => ({ source, bytes });
  return {
    models: catalogue().map((entry) => ({
      ...entry,
      cached: held.filter(({ source }) => entry.places.includes(source)).map(brief),
    })),
    others: held.filter(({ source }) => !named.has(source)).map(brief),
  };
}

function describe({ models, others }: ModelList): string {
  const rows = models.map(({ name, title, parameters, bytes, licence, cached }) => [
    name,
    title,
    `${Math.round(parameters / 1e6)}M parameters`,
    formatBytes(bytes),
    licence,
    cached.length > 0 ? `here, from ${cached.map(({ source }) => source).join(", ")}` : "",
  ]);
  const rest = others.map(({ source, bytes }) => [source, formatBytes(bytes)]);
  return alignColumns(rows) + (rest.length > 0 ? `\nother models here\n${alignColumns(rest)}` : "");
}

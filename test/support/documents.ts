/**
 * Documents as programs. All `ts` blocks of a page are one program, type-checked and run against the built package; `sh`
 * lines that call `npx patchclamp` run the built command; `diff` blocks and named blocks change a copy of the sources,
 * which is built, and then the page runs against the copy. `text output` blocks are what was printed.
 */
import { execFile } from "node:child_process";
import { cp, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { realModel } from "./realModel.js";

export const root = fileURLToPath(new URL("../../", import.meta.url));

export interface Block {
  /** The language: `ts`, `sh`, `json`, `diff` or `text`. */
  readonly tag: string;
  /** What follows it: a file's name, or `output`. */
  readonly info: string;
  readonly text: string;
  readonly line: number;
}

export interface Document {
  /** Relative to the repository. */
  readonly path: string;
  readonly text: string;
  readonly blocks: readonly Block[];
}

/** README.md and every page of docs/. */
export async function readDocuments(): Promise<Document[]> {
  const pages = (await readdir(join(root, "docs")))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`);
  return Promise.all(
    ["README.md", "CONTRIBUTING.md", ...pages.sort()].map(async (path) => {
      const text = await readFile(join(root, path), "utf8");
      return { path, text, blocks: blocksOf(text) };
    }),
  );
}

function blocksOf(text: string): Block[] {
  const fences = text.matchAll(/^```(\S*)[ \t]*(.*)\n([\s\S]*?)^```$/gm);
  return [...fences].map(({ 1: tag = "", 2: info = "", 3: body = "", index }) => ({
    tag,
    info,
    text: body,
    line: text.slice(0, index).split("\n").length,
  }));
}

/** Outputs in the documents are those of SmolLM2's 4-bit GGUF file; other copies of the model say other numbers. */
export const outputsCompared = realModel?.endsWith(".gguf") === true || process.env.PATCHCLAMP_TEST_GGUF !== undefined;

const tiny = join(root, "test/fixtures/models/llama-gguf/model.gguf");
const tinyLayers = 3;
const tinyHeads = 4;
/** Words that the tiny model's tokenizer has as one token with a space before them. */
const tinyWords: Readonly<Record<string, string>> = { Paris: "the", Rome: "a", London: "in", Mary: "in", John: "C" };

/**
 * What a document says, for the model that it runs on here. On the real model only the reference changes; on the tiny
 * one, which has three layers and four heads and knows few words, layers, heads and answers change too.
 */
export function substituted(text: string): string {
  const named = text.replaceAll('"smollm2"', JSON.stringify(realModel ?? tiny));
  if (realModel !== undefined) return named;
  return named
    .replace(
      /(layers\.|--layer |layer: )(\d+)/g,
      (_, before, layer) => before + Math.min(Number(layer), tinyLayers - 1),
    )
    .replace(/(head=|--head |head: )(\d+)/g, (_, before, head) => before + Math.min(Number(head), tinyHeads - 1))
    .replace(/\b(Paris|Rome|London|Mary|John)\b/g, (word) => tinyWords[word] as string);
}

export interface Run {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(command: string, args: readonly string[], cwd: string, environment: NodeJS.ProcessEnv = {}): Promise<Run> {
  return new Promise((resolve) => {
    const env = { ...process.env, NO_COLOR: "1", ...environment };
    const child = execFile(command, args, { cwd, env, maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr });
    });
    child.stdin?.end();
  });
}

/** Runs a script of the repository. */
export function runScript(script: string, ...args: readonly string[]): Promise<Run> {
  return run(process.execPath, [script, ...args], root);
}

const withoutModel = /^(models|cache|schema|pull|help)\b/;

/** The commands of a `sh` block, one a line; a line that ends in a backslash goes on. */
export function commandsOf({ text }: Block): string[] {
  return text
    .replace(/\\\n\s*/g, "")
    .split("\n")
    .filter((line) => line.trim() !== "");
}

/**
 * Runs a line of a `sh` block. What it calls by `npx patchclamp` is this repository's command with the model of the tests;
 * tests are run in the changed copy of the sources; anything else is refused.
 */
export async function runCommand(line: string, folder: string): Promise<Run> {
  const tests = /^npx vitest (.*)$/.exec(line)?.[1];
  if (tests !== undefined) return run("sh", ["-c", `"$NODE" "$VITEST" ${tests}`], join(folder, "changed"), programs);
  if (!line.includes("npx patchclamp "))
    return { code: 1, stdout: "", stderr: "neither run nor on the list of what isn't" };
  const call = line.replace(/^.*?npx patchclamp /, "");
  const command = /^[\w-]+/.exec(call)?.[0] ?? "";
  const model = withoutModel.test(call) || call.includes("--model ") ? "" : ' --model "$MODEL"';
  const script = `"$NODE" "$COMMAND" ${command}${model}${substituted(call.slice(command.length))}`;
  return run("sh", ["-c", script], folder, programs);
}

const programs = {
  NODE: process.execPath,
  COMMAND: join(root, "dist/cli/main.js"),
  VITEST: join(root, "node_modules/vitest/vitest.mjs"),
  MODEL: realModel ?? tiny,
};

/** Type-checks and runs the program of a page in a folder, against the package in `packageFolder`. */
export async function runProgram(source: string, folder: string, packageFolder: string): Promise<Run> {
  await mkdir(join(folder, "node_modules"), { recursive: true });
  await symlink(packageFolder, join(folder, "node_modules/patchclamp"));
  await writeFile(join(folder, "package.json"), '{ "type": "module" }\n');
  await writeFile(join(folder, "program.ts"), substituted(source));
  const { compilerOptions } = JSON.parse(await readFile(join(root, "tsconfig.json"), "utf8")) as {
    compilerOptions: Record<string, unknown>;
  };
  const options = {
    ...compilerOptions,
    rootDir: ".",
    outDir: "built",
    declaration: false,
    sourceMap: false,
    typeRoots: [join(root, "node_modules/@types")],
  };
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: options, files: ["program.ts"] }));
  const checked = await build(folder);
  return checked.code === 0 ? run(process.execPath, ["built/program.js"], folder) : checked;
}

const build = (folder: string) => run(process.execPath, [join(root, "node_modules/typescript/bin/tsc")], folder);

/** Applies a page's diffs and new files to a copy of the sources in `folder`, and builds it. Throws where one does not fit. */
export async function buildChanged({ path, blocks }: Document, folder: string): Promise<void> {
  await mkdir(folder);
  for (const name of ["src", "package.json", "tsconfig.json", "test/support/operations", "test/fixtures/graph"])
    await cp(join(root, name), join(folder, name), { recursive: true });
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
  for (const { tag, info, text, line } of blocks) {
    if (!changesSources({ tag, info })) continue;
    const file = join(folder, info);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, tag === "diff" ? applied(await readFile(file, "utf8"), text, `${path}:${line}`) : text);
  }
  const { code, stdout } = await build(folder);
  if (code !== 0) throw new Error(`the sources changed by ${path} do not build:\n${stdout}`);
}

/** Whether a block is a change of the sources, and not part of the page's program. */
export function changesSources({ tag, info }: Pick<Block, "tag" | "info">): boolean {
  return tag === "diff" || (tag === "ts" && info !== "");
}

/** A file with a hunk applied: its unchanged and removed lines must stand in it once. */
function applied(source: string, hunk: string, where: string): string {
  const lines = hunk.trimEnd().split("\n");
  const side = (mark: string) =>
    lines
      .filter((line) => !line.startsWith(mark))
      .map((line) => `${line.slice(1)}\n`)
      .join("");
  const [before, after] = [side("+"), side("-")];
  if (source.split(before).length !== 2)
    throw new Error(`${where}: the lines of this change do not stand in the file once`);
  return source.replace(before, () => after);
}

/** Numbers with a point may differ by this share: other processors round otherwise, and what is shown has few digits. */
const shownTolerance = 0.02;

/**
 * The first line of an output block that was not printed after those before it, or undefined. A line `...` stands for
 * any lines, a line that ends in ` ...` for any that begin so. Spaces count once.
 */
export function firstMissing(expected: string, printed: string): string | undefined {
  const lines = printed.split("\n").map(words);
  let at = 0;
  for (const line of expected.split("\n")) {
    const wanted = words(line);
    const open = wanted.at(-1) === "...";
    if (open) wanted.pop();
    if (wanted.length === 0) continue;
    const found = lines.slice(at).findIndex((own) => {
      return (open || own.length === wanted.length) && wanted.every((word, i) => sameWord(word, own[i]));
    });
    if (found < 0) return line;
    at += found + 1;
  }
  return undefined;
}

const words = (line: string) => line.split(/\s+/).filter((word) => word !== "");

function sameWord(wanted: string, own: string | undefined): boolean {
  if (own === undefined || wanted === own) return wanted === own;
  const decimal = /^[^\d]*\d+\.\d+[^\d]*$/;
  if (!decimal.test(wanted) || !decimal.test(own)) return false;
  const [a, b] = [wanted, own].map((word) => Number(word.replace(/[^\d.]/g, ""))) as [number, number];
  return Math.abs(a - b) <= shownTolerance * Math.abs(a) && wanted.replace(/[\d.]/g, "") === own.replace(/[\d.]/g, "");
}

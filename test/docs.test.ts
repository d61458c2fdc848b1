/**
 * The documents are executed: every block of code in README.md, CONTRIBUTING.md and docs/ runs, and on SmolLM2's 4-bit
 * weights every output that they show is what was printed. Without them they run on a tiny model, and nothing is compared.
 */
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { differenceThere } from "../src/model/sites/names.js";
import {
  type Block,
  buildChanged,
  changesSources,
  commandsOf,
  type Document,
  firstMissing,
  outputsCompared,
  readDocuments,
  root,
  runCommand,
  runProgram,
  runScript,
  substituted,
} from "./support/documents.js";
import { allowedSkips } from "./support/skips.js";

const documents = await readDocuments();
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "patchclamp-docs-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Lines of `sh` blocks that are not run here: they install, or run all tests. */
const notRun =
  /^(npm ci|npm test|npm run \w+|node scripts\/\w+\.mjs|git clone .*|cd patchclamp)( && npm (test|run \w+))?$/;

/** Whether a block shows what commands or the program printed: those that stand before it. */
function isOutputOf(tag: "sh" | "ts", blocks: readonly Block[], index: number): boolean {
  const block = blocks[index] as Block;
  const before = blocks.slice(0, index).findLast((other) => other.tag === "sh" || other.tag === "ts");
  return block.tag === "text" && block.info === "output" && before?.tag === tag;
}

/** Runs the commands of a page in order; returns those that failed, and what is shown below them and was not printed. */
async function runCommands({ path, blocks }: Document, folder: string): Promise<string[]> {
  const problems: string[] = [];
  let printed = "";
  for (const [i, block] of blocks.entries()) {
    if (block.tag === "json" && block.info !== "") await writeFile(join(folder, block.info), substituted(block.text));
    if (block.tag === "sh") printed = "";
    for (const line of block.tag === "sh" ? commandsOf(block) : []) {
      if (notRun.test(line)) continue;
      const { code, stdout, stderr } = await runCommand(line, folder);
      if (code !== 0) problems.push(`${path}:${block.line}: ${line} exited with ${code}: ${stderr}`);
      printed += stdout;
    }
    const missing = isOutputOf("sh", blocks, i) && outputsCompared ? firstMissing(block.text, printed) : undefined;
    if (missing !== undefined) problems.push(`${path}:${block.line}: not printed: ${missing}\nprinted:\n${printed}`);
  }
  return problems;
}

/** Type-checks and runs a page's program; returns what went wrong. */
async function runPage(page: Document, folder: string): Promise<string[]> {
  const { path, blocks } = page;
  const program = blocks.filter((block) => block.tag === "ts" && !changesSources(block));
  const changed = blocks.some(changesSources);
  if (program.length === 0) return [];
  const source = program.map(({ text, line }) => `// ${path}:${line}\n${text}`).join("\n");
  const { code, stdout, stderr } = await runProgram(source, folder, changed ? join(folder, "changed") : root);
  if (code !== 0) return [`${path}: the program exited with ${code}:\n${stdout}${stderr}`];
  const shown = blocks.filter((_, i) => isOutputOf("ts", blocks, i));
  const missing = outputsCompared ? firstMissing(shown.map(({ text }) => text).join(""), stdout) : undefined;
  return missing === undefined ? [] : [`${path}: the program did not print: ${missing}\nprinted:\n${stdout}`];
}

describe.each(documents.map((page) => [page.path, page] as const))("%s", (path, page) => {
  it("has only blocks that are understood", () => {
    expect(page.blocks.filter(({ tag }) => !["ts", "sh", "json", "diff", "text"].includes(tag))).toEqual([]);
    expect(page.text.match(/^```/gm)?.length ?? 0).toBe(2 * page.blocks.length);
  });

  it("runs", async () => {
    const own = await mkdtemp(join(folder, "page-"));
    if (page.blocks.some(changesSources)) await buildChanged(page, join(own, "changed"));
    expect(await runCommands(page, own)).toEqual([]);
    expect(await runPage(page, own)).toEqual([]);
  });

  it("links only to files that exist", () => {
    const prose = page.text.replace(/^```[\s\S]*?^```$/gm, "");
    const targets = [...prose.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map(([, target = ""]) => target);
    expect(targets.filter((target) => !existsSync(join(root, path, "..", target)))).toEqual([]);
  });
});

it("outputs are compared: a wrong word, number or order is found", () => {
  const printed = "tokens: The\n\n77.3%   ·Paris\n29  0 9\nend of it\n";
  expect(firstMissing("77.4%  ·Paris\n...\nend ...\n", printed)).toBeUndefined();
  for (const wrong of ["77.3%  ·Rome", "70.3%  ·Paris", "28  0 9", "29  0 9\n77.3%  ·Paris", "29 0", "en ..."]) {
    expect(firstMissing(wrong, printed)).toBe(wrong.split("\n").at(-1));
  }
});

describe("generated pages are current", () => {
  it.each(["scripts/notices.mjs", "scripts/sites.mjs", "scripts/operations.mjs", "scripts/measurements.mjs"])(
    "%s",
    async (script) => {
      expect(await runScript(script, "--check")).toMatchObject({ code: 0, stderr: "" });
    },
  );

  it("CONTRIBUTING.md lists every test that may be skipped, and no other", () => {
    const page = documents.find(({ path }) => path === "CONTRIBUTING.md") as Document;
    const rows = page.text.slice(page.text.indexOf("## Tests that may be skipped")).match(/^\| `.*$/gm) ?? [];
    const listed = allowedSkips.map(({ name }) => rows.findIndex((row) => name.test(row)));
    expect(listed.toSorted()).toEqual(rows.map((_, i) => i));
  });

  it("every TransformerLens name in the table of differences is refused", () => {
    const page = documents.find(({ path }) => path === "docs/sites.md") as Document;
    const table = page.text.slice(page.text.indexOf("## Names that are refused"));
    const names = [...table.matchAll(/^\| `([^`]+)`/gm)].map(([, name = ""]) => name.replace("blocks.i.", "blocks.0."));
    expect(names.length).toBeGreaterThan(5);
    expect(names.filter((name) => differenceThere(name) === undefined)).toEqual([]);
  });
});

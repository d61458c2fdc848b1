/**
 * The documents are executed: every block of code in README.md, CONTRIBUTING.md and docs/ runs, and on the real model
 * every output that they show is what was printed. Without it they run on a tiny model, where outputs are not compared.
 */
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { differenceThere } from "../src/model/sites/names.js";
import {
  buildChanged,
  changesSources,
  commandsOf,
  type Document,
  firstMissing,
  readDocuments,
  root,
  runCommand,
  runProgram,
  runScript,
} from "./support/documents.js";
import { realModel } from "./support/realModel.js";

const documents = await readDocuments();
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "patchclamp-docs-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Lines of `sh` blocks that are not run here: they install, or run all tests. */
const notRun =
  /^(npm ci|npm test|npm run \w+|node scripts\/\w+\.mjs|git clone .*|cd patchclamp)( && npm (test|run \w+))?$/;

/** Runs the commands of a page in order; returns what they and the outputs below them disagree on. */
async function runCommands({ path, blocks }: Document, folder: string): Promise<string[]> {
  const problems: string[] = [];
  let printed = "";
  for (const [i, block] of blocks.entries()) {
    if (block.tag === "json" && block.info !== "") await writeFile(join(folder, block.info), block.text);
    if (block.tag === "sh") printed = "";
    for (const line of block.tag === "sh" ? commandsOf(block) : []) {
      if (!line.includes("npx patchclamp ")) {
        if (!notRun.test(line)) problems.push(`${path}:${block.line}: ${line} is neither run nor known`);
        continue;
      }
      const { code, stdout, stderr } = await runCommand(line, folder);
      if (code !== 0) problems.push(`${path}:${block.line}: ${line} exited with ${code}: ${stderr}`);
      printed += stdout;
    }
    const shown = block.tag === "text" && block.info === "output" && blocks[i - 1]?.tag === "sh";
    const missing = shown && realModel !== undefined ? firstMissing(block.text, printed) : undefined;
    if (missing !== undefined) problems.push(`${path}:${block.line}: not printed: ${missing}\nprinted:\n${printed}`);
  }
  return problems;
}

/** Type-checks and runs a page's program; returns what went wrong. */
async function runPage(page: Document, folder: string): Promise<string[]> {
  const { path, blocks } = page;
  const program = blocks.filter((block) => block.tag === "ts" && !changesSources(block));
  const changed = blocks.some(changesSources);
  if (changed) await buildChanged(page, join(folder, "changed"));
  if (program.length === 0) return [];
  const source = program.map(({ text, line }) => `// ${path}:${line}\n${text}`).join("\n");
  const { code, stdout, stderr } = await runProgram(source, folder, changed ? join(folder, "changed") : root);
  if (code !== 0) return [`${path}: the program exited with ${code}:\n${stdout}${stderr}`];
  const shown = blocks.filter(({ tag, info }, i) => tag === "text" && info === "output" && blocks[i - 1]?.tag === "ts");
  const missing = realModel === undefined ? undefined : firstMissing(shown.map(({ text }) => text).join(""), stdout);
  return missing === undefined ? [] : [`${path}: the program did not print: ${missing}\nprinted:\n${stdout}`];
}

describe.each(documents.map((page) => [page.path, page] as const))("%s", (path, page) => {
  it("has only blocks that are understood", () => {
    expect(page.blocks.filter(({ tag }) => !["ts", "sh", "json", "diff", "text"].includes(tag))).toEqual([]);
    expect(page.text.match(/^```/gm)?.length ?? 0).toBe(2 * page.blocks.length);
  });

  it("runs", async () => {
    const own = await mkdtemp(join(folder, "page-"));
    expect(await runCommands(page, own)).toEqual([]);
    expect(await runPage(page, own)).toEqual([]);
  });

  it("links only to files that exist", () => {
    const targets = [...page.text.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map(([, target = ""]) => target);
    expect(targets.filter((target) => !existsSync(join(root, path, "..", target)))).toEqual([]);
  });
});

describe("generated pages are current", () => {
  it.each(["scripts/notices.mjs", "scripts/sites.mjs"])("%s", async (script) => {
    expect(await runScript(script, "--check")).toMatchObject({ code: 0, stderr: "" });
  });

  it("every TransformerLens name in the table of differences is refused", () => {
    const page = documents.find(({ path }) => path === "docs/sites.md") as Document;
    const table = page.text.slice(page.text.indexOf("## Names that are refused"));
    const names = [...table.matchAll(/^\| `([^`]+)`/gm)].map(([, name = ""]) => name.replace("blocks.i.", "blocks.0."));
    expect(names.length).toBeGreaterThan(5);
    expect(names.filter((name) => differenceThere(name) === undefined)).toEqual([]);
  });
});

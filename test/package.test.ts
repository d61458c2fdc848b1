/**
 * The package as a user gets it: packed, installed into an empty project by npm 10 and by npm 11, imported and run.
 * ONNX Runtime's install script, which fetches CUDA libraries from outside the registry, is switched off.
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = new URL("..", import.meta.url).pathname;
const npmVersions = ["10", "11"];
const folder = mkdtempSync(join(tmpdir(), "patchclamp-package-"));

const run = (command: string, args: readonly string[], cwd: string): string =>
  execFileSync(command, args, {
    cwd,
    encoding: "utf8",
    env: {
      ...process.env,
      ONNXRUNTIME_NODE_INSTALL: "skip",
      npm_config_update_notifier: "false",
      PATCHCLAMP_HOME: join(folder, "cache"),
    },
    stdio: ["ignore", "pipe", "pipe"],
  });

/** Whether the registry answers: without it nothing can be installed. */
function registryAnswers(): boolean {
  try {
    run("npm", ["view", "commander@14", "name", "--fetch-retries=0", "--fetch-timeout=10000"], folder);
    return true;
  } catch {
    return false;
  }
}

describe.skipIf(!registryAnswers())("the packed package (needs npm's registry)", { timeout: 300_000 }, () => {
  let tarball: string;

  beforeAll(() => {
    const [packed] = JSON.parse(
      run("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", folder], root),
    ) as { filename: string; files: { path: string }[] }[];
    tarball = join(folder, (packed as { filename: string }).filename);
    const paths = packed?.files.map(({ path }) => path) ?? [];
    expect(paths).toContain("dist/index.d.ts");
    expect(paths.filter((path) => /\.test\.|^(src|test|bench)\//.test(path))).toEqual([]);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(npmVersions)("installs and runs with npm %s", (version) => {
    const project = mkdtempSync(join(folder, `npm${version}-`));
    writeFileSync(join(project, "package.json"), JSON.stringify({ name: "user", version: "1.0.0", type: "module" }));
    run("npx", ["--yes", `npm@${version}`, "install", tarball, "--no-audit", "--no-fund"], project);
    cpSync(join(root, "test/fixtures/models/llama-gqa"), join(project, "model"), { recursive: true });
    writeFileSync(
      join(project, "use.js"),
      `import { open, scale } from "patchclamp";
       import { opset } from "patchclamp/graph";
       const model = await open("./model");
       const { sites } = await model.with(scale("layers.0.mlp.out", 0)).record([5, 17, 42], "logits");
       console.log(opset, sites.logits.shape.join());
       await model.close();`,
    );
    expect(run(process.execPath, ["use.js"], project).trim()).toBe("23 1,3,61");
    const listed = JSON.parse(
      run("npx", ["patchclamp", "lens", "--model", "./model", "--ids", "5,17,42", "--json"], project),
    ) as { layers: unknown[] };
    expect(listed.layers).toHaveLength(4);
  });
});

/** Text as Biome formats it, so that what a script writes passes the format check. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const biome = fileURLToPath(new URL("../node_modules/@biomejs/biome/bin/biome", import.meta.url));

/** @param {string} path what the text will be called, relative to the repository */
export function formatted(text, path) {
  const cwd = fileURLToPath(new URL("../", import.meta.url));
  const options = { cwd, input: text, encoding: "utf8", maxBuffer: 1 << 26 };
  return execFileSync(process.execPath, [biome, "format", `--stdin-file-path=${path}`], options);
}

/**
 * Writes the table of sites into docs/sites.md, between its two markers, from the built table of names.
 * `npm run build && node scripts/sites.mjs` writes; with `--check` it fails where the table is not current.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { siteKinds } from "../dist/model/sites/names.js";
import { formatted } from "./formatted.mjs";

const page = fileURLToPath(new URL("../docs/sites.md", import.meta.url));
const [start, end] = ["<!-- sites: written by scripts/sites.mjs -->", "<!-- end of sites -->"];

const rows = siteKinds.map(({ pattern, axes, meaning, alias, readOnly }) => {
  const name = `\`${pattern}\`${readOnly === undefined ? "" : " (record only)"}`;
  return `| ${name} | ${axes.join(", ")} | ${meaning} | ${alias === undefined ? "" : `\`${alias}\``} |`;
});
const table = `| site | dimensions | what it is | TransformerLens |\n| --- | --- | --- | --- |\n${rows.join("\n")}`;

const before = readFileSync(page, "utf8");
const [from, to] = [before.indexOf(start), before.indexOf(end)];
if (from < 0 || to < from) throw new Error(`docs/sites.md has lost its markers, ${start} and ${end}`);
const after = formatted(`${before.slice(0, from + start.length)}\n\n${table}\n\n${before.slice(to)}`, "docs/sites.md");
if (!process.argv.includes("--check")) writeFileSync(page, after);
else if (after !== before) {
  console.error("the table in docs/sites.md is not current: run node scripts/sites.mjs");
  process.exitCode = 1;
}

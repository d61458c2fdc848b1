/**
 * Writes the table of measurements into docs/architecture.md, between its two markers, from the last benchmark's JSON.
 * `npm run bench && node scripts/measurements.mjs` writes; with `--check` it fails where the table is not current.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { formatted } from "./formatted.mjs";

const page = fileURLToPath(new URL("../docs/architecture.md", import.meta.url));
const [start, end] = ["<!-- measurements -->", "<!-- end of measurements -->"];
const { setting, ratios, times } = JSON.parse(
  readFileSync(new URL("../bench/results/bench.json", import.meta.url), "utf8"),
);

const { gigaflops, gigabytes } = times.limits;
const peer =
  times.python === undefined
    ? ""
    : `, PyTorch ${times.python.versions.torch} (products at ${times.python.machine.matrixGigaflops} GFLOP/s)`;
const machine =
  `${setting.cpu}, ${setting.threads} threads, Node ${setting.node}, ONNX Runtime ${setting.onnxruntime} ` +
  `(products at ${gigaflops.toFixed(0)} GFLOP/s, ${gigabytes.toFixed(1)} GB/s)${peer}; medians of ${setting.rounds} interleaved rounds, least in brackets.`;
const rows = ratios.map(({ name, value, limit, met, detail }) => {
  const verdict = met === undefined ? "" : met ? "met" : "not met";
  return `| ${name} | ${value.toFixed(value < 10 ? 2 : 1)} | ${limit} | ${verdict} | ${detail} |`;
});
const table = `${machine}\n\n| | measured | wanted | | |\n| --- | --- | --- | --- | --- |\n${rows.join("\n")}`;

const before = readFileSync(page, "utf8");
const [from, to] = [before.indexOf(start), before.indexOf(end)];
if (from < 0 || to < from) throw new Error(`docs/architecture.md has lost its markers, ${start} and ${end}`);
const text = `${before.slice(0, from + start.length)}\n\n${table}\n\n${before.slice(to)}`;
const after = formatted(text, "docs/architecture.md");
if (!process.argv.includes("--check")) writeFileSync(page, after);
else if (after !== before) {
  console.error("the table in docs/architecture.md is not current: run node scripts/measurements.mjs");
  process.exitCode = 1;
}

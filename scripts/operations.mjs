/**
 * Writes the table of operations into docs/operations.md, between its two markers, from the built table: what each is in
 * ONNX (as its stored cases are written), whether it has a gradient rule, and how it runs under vmap.
 * `npm run build && node scripts/operations.mjs` writes; with `--check` it fails where the table is not current.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { fromBinary } from "@bufbuild/protobuf";
import * as graph from "../dist/graph/index.js";
import { ModelProtoSchema } from "../dist/graph/onnx/generated/onnx.js";
import { formatted } from "./formatted.mjs";

const page = fileURLToPath(new URL("../docs/operations.md", import.meta.url));
const [start, end] = ["<!-- operations: written by scripts/operations.mjs -->", "<!-- end of operations -->"];
const fixtures = new URL("../test/fixtures/graph/", import.meta.url);
const cases = readdirSync(fixtures)
  .filter((file) => file.endsWith(".json"))
  .flatMap((file) => JSON.parse(readFileSync(new URL(file, fixtures), "utf8")));

/** The names of the ONNX operators that a traced function is written as. */
function operatorsOf(fn, inputs) {
  const traced = graph.trace(
    (values) => {
      const made = fn(Object.values(values));
      return Object.fromEntries([made].flat().map((value, i) => [`y${i}`, value]));
    },
    Object.fromEntries(inputs.map((type, i) => [`x${i}`, type])),
  );
  const model = fromBinary(ModelProtoSchema, graph.exportOnnx(traced));
  return (model.graph?.node ?? []).map(({ opType, domain }) => (domain === "" ? opType : `${domain}.${opType}`));
}

const vector = { dtype: "float32", shape: ["n"] };
const scalar = { dtype: "float32", shape: [] };
/** Operations that stored cases don't make: they hold graphs, or have no inputs or no ONNX operator of their own. */
const examples = {
  ifElse: [([x]) => graph.ifElse(graph.less(x, 0), x, graph.neg, (y) => y), [scalar]],
  scan: [
    ([x, s]) =>
      graph.scan((carry, slice) => ({ carry: graph.add(carry, slice), outputs: [] }), { carry: s, sequences: x }).carry,
    [vector, scalar],
  ],
  loop: [([x]) => graph.loop((carry) => ({ carry: graph.mul(carry, 2) }), { count: 3, carry: x }).carry, [scalar]],
  dimension: [([x]) => [graph.dimension("n"), x], [vector]],
  stopGradient: [([x]) => graph.stopGradient(x), [vector]],
  checkpoint: [([x]) => graph.checkpoint(x), [vector]],
  barrier: [([x, y]) => graph.barrier(x, y), [vector, vector]],
  customGradient: [([x]) => graph.straightThrough(graph.neg)(x), [vector]],
};

function operatorsOfOperation(name) {
  if (examples[name] !== undefined) return operatorsOf(...examples[name]);
  const found = cases
    .filter(({ operation }) => operation === name)
    .map(({ attributes, inputs }) =>
      operatorsOf(
        (values) => graph.apply(graph.operationNamed(name), values, attributes),
        inputs.map(({ dtype, shape }) => ({ dtype, shape })),
      ),
    );
  // What every case has in common comes first; helpers that compute shapes are not what the operation is.
  const counts = new Map();
  for (const operators of found)
    for (const operator of new Set(operators)) counts.set(operator, (counts.get(operator) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a).map(([operator]) => operator);
}

const gradientOf = ({ gradient }) => (gradient === undefined ? "none" : gradient === graph.flat ? "flat" : "yes");
const rows = [...graph.operations.values()].map((operation) => {
  const operators = [...new Set(operatorsOfOperation(operation.name))];
  const shown = operators.slice(0, 4).map((name) => `\`${name}\``);
  const more = operators.length > 4 ? `, ${operators.length - 4} more` : "";
  return `| \`${operation.name}\` | ${shown.join(", ")}${more} | ${gradientOf(operation)} | ${operation.batch === undefined ? "looped" : "batched"} |`;
});
const table = `${rows.length} operations.\n\n| operation | written as | gradient | under \`vmap\` |\n| --- | --- | --- | --- |\n${rows.join("\n")}`;

const before = readFileSync(page, "utf8");
const [from, to] = [before.indexOf(start), before.indexOf(end)];
if (from < 0 || to < from) throw new Error(`docs/operations.md has lost its markers, ${start} and ${end}`);
const after = formatted(
  `${before.slice(0, from + start.length)}\n\n${table}\n\n${before.slice(to)}`,
  "docs/operations.md",
);
if (!process.argv.includes("--check")) writeFileSync(page, after);
else if (after !== before) {
  console.error("the table in docs/operations.md is not current: run node scripts/operations.mjs");
  process.exitCode = 1;
}

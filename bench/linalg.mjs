/**
 * Factorisations against NumPy, in interleaved rounds: `node bench/linalg.mjs [--python PATH] [--rounds 5] [--threads N]`
 * after `npm run build`. Prints medians in milliseconds and, with a Python that has numpy, ratios and their limits.
 */
import { spawn } from "node:child_process";
import { availableParallelism, cpus } from "node:os";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { cholesky, gram, qr, randomizedSvd, solve, svd, symmetricEigen } from "../dist/linalg/index.js";
import { createRuntime, random, tensorOf } from "../dist/runtime/index.js";
import { interleave, ratio } from "./measure.mjs";

const { values: options } = parseArgs({
  options: {
    python: { type: "string" },
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: String(availableParallelism()) },
  },
});

const threads = Number(options.threads);
const runtime = createRuntime({ threads });
const python = options.python === undefined ? undefined : startPython(options.python);

/** A matrix of standard normal numbers. */
function normalMatrix(rows, columns) {
  const source = random(1);
  return tensorOf(
    "float64",
    [rows, columns],
    Float64Array.from({ length: rows * columns }, () => source.normal()),
  );
}

function symmetricMatrix(size) {
  const { data } = normalMatrix(size, size);
  const at = (i, j) => data[i * size + j] + data[j * size + i];
  return tensorOf(
    "float64",
    [size, size],
    data.map((_, k) => at(Math.floor(k / size), k % size)),
  );
}

async function positiveMatrix(size) {
  const { data } = await gram(normalMatrix(size, size), { runtime });
  return tensorOf(
    "float64",
    [size, size],
    data.map((value, k) => (k % (size + 1) === 0 ? value + 1 : value)),
  );
}

/** A process that runs one case a line and answers when it is done. */
function startPython(path) {
  const script = new URL("python/bench_linalg.py", import.meta.url).pathname;
  const env = { ...process.env, OMP_NUM_THREADS: options.threads, OPENBLAS_NUM_THREADS: options.threads };
  const child = spawn(path, [script], { stdio: ["pipe", "pipe", "inherit"], env });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async run(name, size) {
      child.stdin.write(`${name} ${size}\n`);
      const { done } = await lines.next();
      if (done) throw new Error(`${path} ended before it answered "${name} ${size}"`);
    },
    close: () => child.stdin.end(),
  };
}

const cases = [
  { name: "symmetricEigen", size: 1024, atMost: 10, make: symmetricMatrix, run: symmetricEigen },
  { name: "randomizedSvd", size: 4096, atMost: 3, run: (matrix, where) => randomizedSvd(matrix, 64, where) },
  { name: "svd", size: 512, run: svd },
  { name: "qr", size: 1024, run: qr },
  { name: "cholesky", size: 1024, make: positiveMatrix, run: cholesky },
  { name: "solve", size: 1024, run: (matrix, where) => solve(matrix, normalMatrix(matrix.shape[0], 1), where) },
];

const report = [];
for (const { name, size, atMost, make = (n) => normalMatrix(n, n), run } of cases) {
  const matrix = await make(size);
  const variants = { ours: () => run(matrix, { runtime }) };
  if (python !== undefined) variants.numpy = () => python.run(name, size);
  const { ours, numpy } = await interleave(variants, Number(options.rounds));
  const show = ({ median, least }) => `${median.toFixed(1)} (least ${least.toFixed(1)}) ms`;
  const detail = `${show(ours)}${numpy === undefined ? "" : `, numpy ${show(numpy)}`}`;
  const value = numpy === undefined ? undefined : ours.median / numpy.median;
  report.push(value === undefined ? { name, detail } : ratio(name, value, { atMost, detail }));
  const shown = value === undefined ? "" : `  ${value.toFixed(1)} times numpy${atMost ? ` (at most ${atMost})` : ""}`;
  console.error(`${name} ${size}: ${detail}${shown}`);
}
console.log(JSON.stringify({ cpu: cpus()[0]?.model, threads, node: process.version, report }, null, 2));
python?.close();
await runtime.close();

/**
 * `npm run bench`: ratios of Patchclamp against its peers, in one run, on one machine. Prints a table and writes JSON with
 * the machine and versions beside it (bench/results/). Needs the default model; PyTorch and TransformerLens join where
 * PATCHCLAMP_BENCH_PYTHON names a Python that has them.
 */
import { execFile, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, tmpdir, totalmem } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as ort from "onnxruntime-node";
import { open, resolveModel, scale } from "../dist/model/index.js";
import { formatted } from "../scripts/formatted.mjs";
import { attribution, checkpoints, gradientOptions, gradients } from "./gradients.mjs";
import { handWrittenDecoder } from "./handWritten.mjs";
import { interleave, median, ratio, summary } from "./measure.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const reference = process.env.PATCHCLAMP_BENCH_MODEL ?? "smollm2";
const threads = Number(process.env.PATCHCLAMP_BENCH_THREADS ?? availableParallelism());
const rounds = Number(process.env.PATCHCLAMP_BENCH_ROUNDS ?? 9);
const ids = (count) => Array.from({ length: count }, (_, i) => (i * 7919 + 13) % 49152);
const lines = [];
const times = {};
const report = (line) => {
  lines.push(line);
  const verdict = line.met === undefined ? "" : line.met ? "met" : "NOT met";
  console.log(
    `${line.name.padEnd(66)} ${line.value.toFixed(3).padStart(8)}  ${line.limit.padEnd(14)} ${verdict.padEnd(8)} ${line.detail}`,
  );
};
const show = (...results) =>
  results.map(({ median: m, least }) => `${m.toFixed(0)} (${least.toFixed(0)}) ms`).join(" / ");

async function main() {
  const model = await open(reference, { threads, maxSessions: 12 });
  await machineLimits();
  await forward(model);
  times.gradients = await gradients({
    model,
    byHand: await handWritten(model),
    prompt: ids(128),
    rounds,
    report,
    show,
  });
  times.attribution = await attribution({ model, rounds, report, show });
  await weightModes();
  await clamps(model);
  await generation(model);
  const { path, bytes } = await weightFile(model);
  await model.close();
  times.checkpoints = checkpoints({ report });
  await startUp();
  await memory(path, bytes);
  await python();
  write();
}

/** What the machine can do: float32 products through the runtime, and bytes a second through one matrix and vector. */
async function machineLimits() {
  const { createRuntime, tensorOf } = await import("../dist/runtime/index.js");
  const { matmul, trace } = await import("../dist/graph/index.js");
  const runtime = createRuntime({ threads });
  const square = (n, m) =>
    trace(({ a, b }) => ({ c: matmul(a, b) }), {
      a: { dtype: "float32", shape: [n, m] },
      b: { dtype: "float32", shape: [m, m] },
    });
  const big = runtime.compile(square(2048, 2048));
  const thin = runtime.compile(square(1, 4096));
  const filled = (shape) =>
    tensorOf(
      "float32",
      shape,
      Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => (i % 7) - 3),
    );
  const [a, v, w] = [filled([2048, 2048]), filled([1, 4096]), filled([4096, 4096])];
  const results = await interleave({ big: () => big.run({ a, b: a }), thin: () => thin.run({ a: v, b: w }) }, rounds);
  times.machine = results;
  const gigaflops = (2 * 2048 ** 3) / results.big.least / 1e6;
  const gigabytes = (4 * 4096 ** 2) / results.thin.least / 1e6;
  console.log(
    `machine: ${cpus()[0]?.model}, ${threads} threads, ${gigaflops.toFixed(0)} GFLOP/s float32, ${gigabytes.toFixed(1)} GB/s\n`,
  );
  times.limits = { gigaflops, gigabytes };
  await runtime.close();
}

/** The same network written by hand, as a function that runs it on 128 tokens. */
async function handWritten(model) {
  const prompt = ids(128);
  const file = await weightFile(model);
  const bytes = handWrittenDecoder(model.config, file, basename(file.path));
  const byHand = await ort.InferenceSession.create(bytes, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
    logSeverityLevel: 3,
    // force_spinning_stop as in ours: threads of an idle session would slow whatever runs next to it
    extra: {
      session: {
        force_spinning_stop: "1",
        disable_prepacking: "1",
        model_external_initializers_file_folder_path: dirname(file.path),
      },
    },
  });
  const feeds = {
    ids: new ort.Tensor("int64", BigInt64Array.from(prompt, BigInt), [1, 128]),
    positions: new ort.Tensor(
      "int64",
      BigInt64Array.from({ length: 128 }, (_, i) => BigInt(i)),
      [128],
    ),
  };
  return { run: () => byHand.run(feeds), close: () => byHand.release() };
}

async function forward(model) {
  const prompt = ids(128);
  const byHand = await handWritten(model);
  const recorded = ["embed", "layers.*.residPost", "layers.*.attn.pattern"];
  const results = await interleave(
    {
      byHand: byHand.run,
      plain: () => model.record(prompt, "logits"),
      recorded: () => model.record(prompt, recorded),
      withLogits: () => model.record(prompt, [...recorded, "logits"]),
      streams: () => model.record(prompt, "layers.*.residPost"),
      half: () => model.record(prompt, "layers.14.residPost"),
    },
    rounds,
  );
  times.forward128 = results;
  const { byHand: hand, plain, recorded: all, withLogits, streams, half } = results;
  report(
    ratio("plain forward of 128 tokens / the same graph by hand", plain.median / hand.median, {
      atMost: 1.05,
      detail: show(plain, hand),
    }),
  );
  report(
    ratio("residual streams and patterns recorded / plain forward", all.median / plain.median, {
      atMost: 1.15,
      detail: show(all, plain),
    }),
  );
  report(
    ratio("the same and the logits / plain forward", withLogits.median / plain.median, {
      atMost: 1.15,
      detail: show(withLogits, plain),
    }),
  );
  report(
    ratio("residual streams alone / plain forward (no unembedding)", streams.median / plain.median, {
      atMost: 1,
      detail: show(streams, plain),
    }),
  );
  report(ratio("one stream at half depth / plain forward", half.median / plain.median, { detail: show(half, plain) }));
  await byHand.close();
}

async function weightFile(model) {
  const { openWeights } = await import("../dist/model/formats/index.js");
  return openWeights(model.weights.path);
}

async function weightModes() {
  const prompt = ids(128);
  const opened = {};
  const modes = { mapped: {}, prepacked: { prepack: true }, fed: { weights: "fed" }, baked: { weights: "baked" } };
  for (const [weights, mode] of Object.entries(modes)) {
    const start = performance.now();
    const model = await open(reference, { threads, ...mode });
    await model.record(prompt, "logits[:, -1]");
    opened[weights] = { model, ready: performance.now() - start };
  }
  const results = await interleave(
    Object.fromEntries(
      Object.entries(opened).map(([weights, { model }]) => [weights, () => model.record(prompt, "logits")]),
    ),
    rounds,
  );
  times.weightModes = Object.fromEntries(
    Object.entries(results).map(([weights, time]) => [weights, { ...time, ready: opened[weights].ready }]),
  );
  const sites = ["embed", "layers.*.residPost", "layers.*.attn.pattern"];
  const { model: prepacked } = opened.prepacked;
  Object.assign(
    times.weightModes,
    await interleave(
      {
        prepackedRecorded: () => prepacked.record(prompt, sites),
        prepackedGradient: () => prepacked.gradient(prompt, gradientOptions),
      },
      rounds,
    ),
  );
  for (const weights of ["prepacked", "fed", "baked"]) {
    const detail = `${show(results[weights], results.mapped)}; ready after ${opened[weights].ready.toFixed(0)} / ${opened.mapped.ready.toFixed(0)} ms`;
    report(
      ratio(`forward of 128 tokens: ${weights} / mapped`, results[weights].median / results.mapped.median, { detail }),
    );
  }
  for (const { model } of Object.values(opened)) await model.close();
}

async function clamps(model) {
  const prompt = ids(16);
  await model.record(prompt, "logits[:, -1]");
  const first = [];
  const repeated = [];
  for (let i = 0; i < rounds; i++) {
    const layer = (i * 3) % model.config.layers;
    const timed = async (list, clamp) => {
      const start = performance.now();
      await model.with(clamp).record(prompt, "logits[:, -1]");
      list.push(performance.now() - start);
    };
    await timed(first, scale(`layers.${layer}.mlp.act[:, -1, ${i}]`, 2));
    await timed(repeated, scale(`layers.${layer}.mlp.act[:, ${i}, ${i + 7}]`, 3 + i));
  }
  times.clamps = { first: summary(first), repeated: summary(repeated) };
  report(
    ratio("a new clamp on 16 tokens, call to logits, seconds", median(first) / 1000, {
      atMost: 0.6,
      detail: show(summary(first)),
    }),
  );
  report(
    ratio("the same with other numbers and indices, seconds", median(repeated) / 1000, {
      atMost: 0.15,
      detail: show(summary(repeated)),
    }),
  );
}

async function generation(model) {
  const speeds = [];
  for (let i = 0; i < 3; i++)
    speeds.push((await model.generate(ids(128), { maxTokens: 48, ignoreEnd: true })).tokensPerSecond);
  times.decode = { tokensPerSecond: speeds };
  report(
    ratio("decode after 128 tokens, milliseconds a token", 1000 / median(speeds), {
      detail: `${median(speeds).toFixed(1)} tokens a second`,
    }),
  );
}

async function startUp() {
  const command = join(here, "..", "dist", "cli", "main.js");
  const out = join(tmpdir(), "patchclamp-bench.safetensors");
  const seconds = [];
  for (let i = 0; i < Math.min(5, rounds) + 1; i++) {
    const start = performance.now();
    await promisify(execFile)(process.execPath, [
      command,
      "record",
      "The capital of France is",
      "--model",
      reference,
      "--sites",
      "layers.*.residPost",
      "--out",
      out,
    ]);
    if (i > 0) seconds.push((performance.now() - start) / 1000);
  }
  times.startUp = summary(seconds);
  report(ratio("process start to the first recorded activation on disk, seconds", median(seconds), { atMost: 1.5 }));
}

async function memory(path, bytes) {
  const measure = (what) =>
    Number(
      spawnSync(process.execPath, [join(here, "memory.mjs"), what, reference], { encoding: "utf8" })
        .stdout.trim()
        .split("\n")
        .pop(),
    );
  const views = measure("views");
  const workers = measure("workers");
  times.memory = { path: basename(path), bytes, views, workers };
  if (Number.isNaN(views)) return console.log("memory: proportional set size is not available on this system");
  report(
    ratio("ten views used in turn / the weights' file (proportional set size)", views / bytes, {
      atMost: 1.4,
      detail: `${(views / 1e6).toFixed(0)} MB`,
    }),
  );
  report(
    ratio("eight workers together / the weights' file", workers / bytes, {
      atMost: 2,
      detail: `${(workers / 1e6).toFixed(0)} MB`,
    }),
  );
}

/** PyTorch and TransformerLens on the same weights, tokens and threads, if a Python with them is named. */
async function python() {
  const interpreter = process.env.PATCHCLAMP_BENCH_PYTHON;
  if (interpreter === undefined)
    return console.log("PyTorch, TransformerLens: not measured (PATCHCLAMP_BENCH_PYTHON names no Python)");
  const { files } = await resolveModel(reference);
  const gguf = [...files].find(([name]) => name.endsWith(".gguf"))?.[1];
  if (gguf === undefined)
    return console.log("PyTorch, TransformerLens: not measured (they read the GGUF file, which this model has not)");
  const { stdout, stderr, status } = spawnSync(
    interpreter,
    [join(here, "python", "bench_torch.py"), "--gguf", gguf, "--threads", `${threads}`, "--runs", `${rounds}`],
    { encoding: "utf8", maxBuffer: 2 ** 26 },
  );
  if (status !== 0) return console.log(`PyTorch, TransformerLens: failed: ${stderr.trim().split("\n").pop()}`);
  times.python = JSON.parse(stdout);
  const { transformers, transformerLens, machine } = times.python;
  const { recorded, plain } = times.forward128;
  const lens = transformerLens.residualsAndPatterns;
  report(
    ratio("TransformerLens recording the same / recorded", lens.median / recorded.median, {
      atLeast: 1.5,
      detail: show(lens, recorded),
    }),
  );
  const { gradient } = times.gradients;
  for (const [name, of] of [
    ["PyTorch's gradient at all residual streams / ours", "gradient"],
    ["PyTorch's gradient, logits of the last token alone / ours", "gradientOfLastRow"],
  ]) {
    const limit = of === "gradient" ? { atLeast: 1.2 } : {};
    report(
      ratio(name, transformers[of].median / gradient.median, { ...limit, detail: show(transformers[of], gradient) }),
    );
  }
  const { prepackedRecorded, prepackedGradient, prepacked } = times.weightModes;
  report(
    ratio(
      "PyTorch's gradient at all residual streams / ours, prepacked",
      transformers.gradient.median / prepackedGradient.median,
      {
        detail: show(transformers.gradient, prepackedGradient),
      },
    ),
  );
  report(
    ratio("TransformerLens recording the same / recorded, prepacked", lens.median / prepackedRecorded.median, {
      detail: show(lens, prepackedRecorded),
    }),
  );
  report(
    ratio("PyTorch forward of 128 tokens / plain", transformers.prefill128.median / plain.median, {
      detail: show(transformers.prefill128, plain),
    }),
  );
  report(
    ratio("PyTorch forward of 128 tokens / plain, prepacked", transformers.prefill128.median / prepacked.median, {
      detail: show(transformers.prefill128, prepacked),
    }),
  );
  report(
    ratio(
      "PyTorch decode / decode, a token",
      (transformers.decodePerToken.median * median(times.decode.tokensPerSecond)) / 1000,
    ),
  );
  report(
    ratio(
      "TransformerLens' first activation / ours, seconds from process start",
      transformerLens.firstActivation.totalSeconds / times.startUp.median,
    ),
  );
  console.log(
    `PyTorch's own products: ${machine.matrixGigaflops} GFLOP/s, the runtime's ${times.limits.gigaflops.toFixed(0)}`,
  );
}

function write() {
  const folder = join(here, "results");
  mkdirSync(folder, { recursive: true });
  const { version } = JSON.parse(readFileSync(join(here, "..", "package.json"), "utf8"));
  const setting = {
    cpu: cpus()[0]?.model,
    threads,
    memory: totalmem(),
    node: process.version,
    onnxruntime: ort.env.versions.node ?? ort.env.versions.common,
    patchclamp: version,
    model: reference,
    rounds,
  };
  const text = `${JSON.stringify({ setting, ratios: lines, times }, null, 2)}\n`;
  writeFileSync(join(folder, "bench.json"), formatted(text, "bench/results/bench.json"));
  console.log(`\nwritten to ${join("bench", "results", "bench.json")}`);
}

await main();

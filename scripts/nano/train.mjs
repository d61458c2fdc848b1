/**
 * `npm run train:nano`: makes nano, the small language model of this package, from its first random number. Every stage
 * goes on where it was stopped, and the same seed gives the same bits on the same machine.
 *
 *   node scripts/nano/train.mjs [--work FOLDER] [--steps N] [--stop N] [--out FOLDER] [--card FILE]
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { tokenBatches, tokenRows } from "../../dist/data/index.js";
import { trace } from "../../dist/graph/index.js";
import {
  adamW,
  cosineDecay,
  muon,
  parameterCount,
  readCheckpoint,
  train,
  trainingStep,
  warmup,
} from "../../dist/learn/index.js";
import { tokenizerFromFiles, writeModel } from "../../dist/model/index.js";
import { createRuntime } from "../../dist/runtime/index.js";
import { formatted } from "../formatted.mjs";
import { documents, makeTokenizer, stream } from "./corpus.mjs";
import { evaluate } from "./evaluate.mjs";
import { configuration, context, firstWeights, loss, tokenizerConfiguration } from "./model.mjs";

const { values: options } = parseArgs({
  options: {
    work: { type: "string", default: "nano-training" },
    steps: { type: "string", default: "2800" },
    stop: { type: "string" },
    out: { type: "string", default: fileURLToPath(new URL("../../models/nano", import.meta.url)) },
    card: { type: "string", default: fileURLToPath(new URL("card.json", import.meta.url)) },
  },
});
const steps = Number(options.steps);
const rows = 16;
/** The highest learning rate. */
const peak = 5e-3;
/** Checkpoints that stay, to see when each ability appears. */
const kept = [25, 50, 100, 150, 200, 300, 400, 500, 600, 800, 1000, 1200, 1400, 1600, 1800, 2000, 2400, steps];

/** Reads a JSON file, or makes its contents and keeps them. */
async function once(name, make) {
  const path = join(options.work, name);
  if (!existsSync(path)) writeFileSync(path, JSON.stringify(await make()));
  return JSON.parse(readFileSync(path, "utf8"));
}

const controller = new AbortController();
process.once("SIGINT", () => controller.abort());

async function main() {
  mkdirSync(options.work, { recursive: true });
  const { training, validation } = await documents({
    onProgress: (event) => event.kind === "notice" && console.error(event.message),
  });
  const tokenizerFile = await once("tokenizer.json", () => makeTokenizer(training));
  const tokenizer = tokenizerFromFiles({ tokenizer: tokenizerFile, config: tokenizerConfiguration });
  const encode = (text) => tokenizer.encode(text, { bos: false }).map(({ id }) => id);
  const ids = await once("stream.json", () => Array.from(stream(encode, training)));
  const heldOut = Object.entries(validation).map(([name, texts]) => {
    const joined = texts.slice(0, 60).flatMap((text) => [0, ...encode(text)]);
    return [name, tokenRows(joined, { context, most: 24 })];
  });
  const parameters = firstWeights(1);
  console.error(`${parameterCount(parameters)} parameters, ${ids.length} tokens`);

  const decayed = { rate: 0.1, on: (name) => !name.endsWith("norm.weight") };
  const types = {
    ids: { dtype: "int64", shape: [rows, context] },
    targets: { dtype: "int64", shape: [rows, context] },
  };
  const step = trainingStep({
    parameters,
    batch: types,
    loss,
    clip: { norm: 1 },
    optimizer: muon({
      rate: warmup(40, cosineDecay(peak, steps - 40, peak / 20)),
      scale: "rms",
      decay: decayed,
      on: (name, shape) => shape.length === 2 && !name.startsWith("embed"),
      others: adamW({ rate: warmup(40, cosineDecay(peak, steps - 40, peak / 20)), decay2: 0.98, decay: decayed }),
    }),
  });
  const runtime = createRuntime();
  const validate = makeValidation(runtime, heldOut);
  let told = performance.now();
  const result = await train(step, tokenBatches(ids, { size: rows, context, seed: 7 }), {
    steps: Math.min(steps, Number(options.stop ?? steps)),
    seed: 1,
    runtime,
    signal: controller.signal,
    callSeconds: 3,
    checkpoint: { folder: join(options.work, "checkpoints"), every: 25, keep: (at) => kept.includes(at) },
    validate: { every: 50, run: validate },
    onStep({ step: at, loss: value, secondsLeft }) {
      if (performance.now() - told < 10_000) return;
      told = performance.now();
      console.error(`step ${at}, loss ${value.toFixed(3)}, ${Math.ceil(secondsLeft / 60)} minutes left`);
    },
  });
  await runtime.close();
  if (result.step < steps) return;

  await writeNano(options.out, result.parameters, "float16", tokenizerFile);
  await measure(step, result.history, tokenizerFile);
}

/** Writes weights as a model's folder. */
function writeNano(folder, weights, precision, tokenizerFile) {
  return writeModel(folder, {
    config: configuration,
    weights: new Map(Object.entries(weights)),
    precision,
    files: { "tokenizer.json": tokenizerFile, "tokenizer_config.json": tokenizerConfiguration },
  });
}

/** Measures the checkpoints that stayed and what is shipped, for the card. */
async function measure(step, history, tokenizerFile) {
  const measured = [];
  for (const at of [...new Set(kept)].filter((one) => one <= steps)) {
    const { state } = await readCheckpoint(join(options.work, "checkpoints"), { step: at });
    const folder = join(options.work, "models", String(at));
    await writeNano(folder, step.parameters(state), "float32", tokenizerFile);
    measured.push({ step: at, ...(await evaluate(folder)) });
    console.error(`step ${at}: ${JSON.stringify(measured.at(-1).accuracy)}`);
  }
  const curves = [...history].filter(([name]) => name === "loss" || name.startsWith("validation."));
  const shipped = await evaluate(options.out);
  const card = { tokens: steps * rows * context, history: Object.fromEntries(curves), measured, shipped };
  writeFileSync(options.card, formatted(JSON.stringify(card, rounded), "scripts/nano/card.json"));
}

/** Four digits are what the card shows at most. */
const rounded = (_, value) => (typeof value === "number" ? Number(value.toPrecision(4)) : value);

/** Mean loss of held-out rows of each kind, in nats a token. */
function makeValidation(runtime, heldOut) {
  const programs = new Map();
  return async (parameters) => {
    const results = {};
    for (const [name, { ids, targets }] of heldOut) {
      const key = ids.shape[0];
      const program =
        programs.get(key) ??
        runtime.compile(
          trace(
            ({ ids: i, targets: t, ...weights }) => ({
              loss: loss(weights, { ids: i, targets: t }, { site: (_, x) => x }),
            }),
            {
              ids: { dtype: "int64", shape: ids.shape },
              targets: { dtype: "int64", shape: targets.shape },
              ...Object.fromEntries(
                Object.entries(parameters).map(([weight, { dtype, shape }]) => [weight, { dtype, shape }]),
              ),
            },
          ),
          { weights: "fed", values: new Map() },
        );
      programs.set(key, program);
      results[name] = (await program.run({ ids, targets, ...parameters })).loss.data[0];
    }
    return results;
  };
}

await main();

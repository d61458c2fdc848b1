/**
 * Prints as JSON the peak memory and the time of one gradient of a 24-layer decoder at 512 tokens, with every residual
 * stream a checkpoint or none: `node checkpoint.mjs [--checkpoint]`. A process of its own, because a peak never falls.
 */
import { readFileSync } from "node:fs";
import { checkpoint, constantLike, nodeCount, pullback, reduceSum, simplify, spliceAll } from "../dist/graph/index.js";
import { decoderWeights } from "../dist/model/decoder/config.js";
import { traceDecoder } from "../dist/model/decoder/decoder.js";
import { createRuntime, tensorOf } from "../dist/runtime/index.js";
import { median } from "./measure.mjs";

const layers = 24;
const tokens = 512;
const config = {
  layers,
  width: 256,
  heads: 8,
  keyValueHeads: 8,
  headSize: 32,
  mlpWidth: 1024,
  vocabulary: 64,
  context: tokens,
  norm: "rms",
  epsilon: 1e-5,
  activation: "silu",
  gatedMlp: true,
  positions: { kind: "rotary", inverseFrequencies: Array.from({ length: 16 }, (_, i) => 10000 ** (-i / 16)) },
  bias: { qkv: false, attentionOut: false, mlp: false },
  tied: false,
};

const weights = new Map(
  [...decoderWeights(config)].map(([name, shape]) => {
    const count = shape.reduce((a, b) => a * b, 1);
    const scale = shape.length === 1 ? 0 : 1 / Math.sqrt(shape[0]);
    let state = name.length;
    const next = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 31 - 1;
    };
    const data = Float32Array.from({ length: count }, () => (scale === 0 ? 1 : scale * next()));
    return [name, tensorOf("float32", shape, data)];
  }),
);

const plain = traceDecoder(config, { cached: false });
const sites = Array.from({ length: layers }, (_, i) => `layers.${i}.residPre`);
const graph = process.argv.includes("--checkpoint")
  ? spliceAll(
      plain,
      sites.map((site) => ({ site, apply: checkpoint })),
    )
  : plain;
const value = reduceSum(graph.sites.get("finalNorm"), [0, 1, 2]);
const [gradient] = pullback(new Map([[value, constantLike(value, 1)]]), [graph.sites.get("embed")]);
const whole = simplify({ inputs: graph.inputs, outputs: new Map([["gradient", gradient]]), sites: new Map() });
const runtime = createRuntime();
const program = runtime.compile(whole, { weights: "fed", values: weights });
const feeds = (count) => ({
  ids: tensorOf(
    "int64",
    [1, count],
    Array.from({ length: count }, (_, i) => (i * 7) % 64),
  ),
  positions: tensorOf(
    "int64",
    [1, count],
    Array.from({ length: count }, (_, i) => i),
  ),
});

const peak = () => Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024;
await program.run(feeds(2)); // what a session needs before any activation
const before = peak();
const times = [];
let sum = 0;
for (let round = 0; round < 4; round++) {
  const start = performance.now();
  const outputs = await program.run(feeds(tokens));
  if (round > 0) times.push(performance.now() - start);
  sum = outputs.gradient.data.reduce((a, b) => a + Math.abs(b), 0);
}
console.log(JSON.stringify({ bytes: peak() - before, milliseconds: median(times), nodes: nodeCount(whole), sum }));
await runtime.close();

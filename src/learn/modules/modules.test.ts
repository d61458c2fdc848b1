/** Every module: its output, and its parameters after 20 steps of gradient descent, are PyTorch's. */
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import {
  add,
  type ConvolutionOptions,
  concat,
  constant,
  gelu,
  type MarkSite,
  mul,
  reduceMean,
  relu,
  type Shape,
  scan,
  silu,
  sub,
  trace,
  unsqueeze,
  type Value,
  type ValueType,
  valueAndGrad,
} from "../../graph/index.js";
import { createRuntime, type Dtype, type Random, random, type Tensor } from "../../runtime/index.js";
import { flatten, type Parameters, rebuild, type Traced } from "../parameters.js";
import * as modules from "./index.js";

interface Stored {
  readonly dtype: "float32" | "int64" | "bool";
  readonly shape: readonly number[];
  /** The elements' bytes in base64. */
  readonly data: string;
}

type StoredByName = Readonly<Record<string, Stored>>;

interface Case {
  readonly name: string;
  readonly rate: number;
  readonly inputs: StoredByName;
  readonly target: Stored;
  readonly parameters: StoredByName;
  readonly output: Stored;
  readonly final: StoredByName;
  readonly state?: StoredByName;
  readonly finalState?: StoredByName;
}

const { cases, steps } = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/learn/modules/modules.json", import.meta.url), "utf8"),
) as { readonly cases: readonly Case[]; readonly steps: number };

const runtime = createRuntime();
afterAll(() => runtime.close());

type Named = Readonly<Record<string, Value>>;

/** How a case of the fixture is made here: parameters of the right structure, and the output. */
interface Subject {
  readonly parameters: Parameters;
  readonly run: (
    parameters: unknown,
    inputs: Named,
    state: Named,
  ) => { readonly output: Value; readonly state?: Named };
}

/** A subject from parameters and a function whose types belong together. */
const subject = <P extends Parameters>(
  make: (random: Random) => P,
  run: (parameters: Traced<P>, x: Value, inputs: Named) => Value,
): Subject => ({
  parameters: make(random(1)),
  run: (parameters, inputs) => ({ output: run(parameters as Traced<P>, inputs.x as Value, inputs) }),
});

const norm = (size: number, run: (parameters: Traced<modules.NormParameters>, x: Value) => Value, bias = true) =>
  subject(
    () => modules.normParameters({ size, bias }),
    (p, x) => run(p, x),
  );

const convolution = (settings: modules.ConvolutionSettings, options: ConvolutionOptions = {}): Subject =>
  subject(
    (source) => modules.convolutionParameters(source, settings),
    (p, x) => modules.convolve(p, x, options),
  );
const attention = (settings: modules.AttentionSettings, options: (inputs: Named) => modules.MultiHeadOptions) =>
  subject(
    (source) => modules.attentionParameters(source, settings),
    (p, x, inputs) => modules.multiHeadAttention(p, x, options(inputs)),
  );

const block = (settings: Omit<modules.BlockSettings, "width" | "heads">, options: Partial<modules.BlockOptions>) =>
  subject(
    (source) => modules.blockParameters(source, { width: 8, heads: 2, ...settings }),
    (p, x) => modules.transformerBlock(p, x, { heads: 2, ...options }),
  );

const recurrent = (kind: modules.RecurrentKind, options: modules.RecurrentCall = {}) =>
  subject(
    (source) => modules.recurrentParameters(source, kind, { inputs: 3, hidden: 4 }),
    (p, x) => modules.recurrent(kind, p, x, options).output,
  );

const edges = ({ sources, targets }: Named) => ({ sources: sources as Value, targets: targets as Value });

const subjects: Readonly<Record<string, Subject>> = {
  dense: subject(
    (source) => modules.denseParameters(source, { inputs: 5, outputs: 4 }),
    (p, x) => modules.dense(p, x),
  ),
  "convolution 1-D": convolution({ inputs: 3, outputs: 4, kernel: [3] }, { strides: 2, pads: 2, dilations: 2 }),
  "convolution 2-D": convolution(
    { inputs: 4, outputs: 6, kernel: [3, 2], groups: 2 },
    { strides: [1, 2], pads: [1, 0] },
  ),
  "convolution 3-D": convolution({ inputs: 2, outputs: 3, kernel: [2, 2, 2] }),
  "convolution transposed": subject(
    (source) => modules.convolutionTransposeParameters(source, { inputs: 4, outputs: 6, kernel: [3, 3], groups: 2 }),
    (p, x) => modules.convolveTranspose(p, x, { strides: 2, pads: 1, outputPadding: 1, groups: 2 }),
  ),
  "layer norm": norm(8, modules.layerNormalization),
  "rms norm": norm(8, modules.rmsNormalization, false),
  "group norm": norm(4, (p, x) => modules.groupNormalization(p, x, { groups: 2 })),
  "instance norm": norm(4, modules.instanceNormalization),
  "batch norm": {
    parameters: modules.normParameters({ size: 4 }),
    run: (parameters, { x }, state) =>
      modules.batchNormalization(parameters as Traced<modules.NormParameters>, x as Value, {
        state: state as Traced<modules.BatchNormState>,
      }),
  },
  embedding: subject(
    (source) => ({
      tokens: modules.embeddingParameters(source, { count: 7, width: 5 }),
      positions: modules.embeddingParameters(source, { count: 6, width: 5 }),
    }),
    ({ tokens, positions }, x) => modules.unembed(tokens, modules.addPositions(positions, modules.embed(tokens, x))),
  ),
  attention: attention({ width: 8, heads: 2 }, () => ({ heads: 2, causal: true })),
  "attention to a context": attention({ width: 8, heads: 2 }, ({ context, mask }) => ({
    heads: 2,
    context: context as Value,
    mask: mask as Value,
  })),
  "attention grouped": attention({ width: 16, heads: 4, keyHeads: 2, bias: false, normalise: true }, () => ({
    heads: 4,
    causal: true,
    rotaryBase: 100,
  })),
  "block pre-norm": block({ hidden: 16 }, {}),
  "block post-norm": block({ hidden: 16 }, { postNorm: true, activation: relu }),
  "block gated": block(
    { hidden: 12, gated: true, norm: "rms", keyHeads: 1, bias: false },
    { norm: "rms", causal: true, rotaryBase: 10000, activation: silu },
  ),
  transformer: subject(
    (source) => modules.transformerParameters(source, { layers: 2, width: 8, heads: 2, hidden: 16 }),
    (p, x) => modules.transformer(p, x, { heads: 2, causal: true, activation: (pre) => gelu(pre) }),
  ),
  rnn: recurrent("rnn"),
  "rnn relu": recurrent("rnn", { nonlinearity: "relu" }),
  gru: recurrent("gru"),
  lstm: subject(
    (source) => modules.recurrentParameters(source, "lstm", { inputs: 3, hidden: 4 }),
    (p, x, { h, c }) => {
      const { output, last } = modules.recurrent("lstm", p, x, { initial: { h: h as Value, c: c as Value } });
      return concat([output, ...[last.h, last.c as Value].map((value) => unsqueeze(value, 1))], 1);
    },
  ),
  "lstm backwards": recurrent("lstm", { reverse: true }),
  bidirectional: subject(
    (source) => ({
      forward: modules.recurrentParameters(source, "gru", { inputs: 3, hidden: 4 }),
      backward: modules.recurrentParameters(source, "gru", { inputs: 3, hidden: 4 }),
    }),
    (p, x) => modules.bidirectional("gru", p, x),
  ),
  s4d: subject(
    (source) => modules.s4dParameters(source, { width: 3, states: 4 }),
    (p, x) => modules.s4d(p, x),
  ),
  "selective scan": subject(
    (source) => modules.selectiveScanParameters(source, { width: 4, states: 3, rank: 2 }),
    (p, x) => modules.selectiveScan(p, x),
  ),
  "graph convolution": subject(
    (source) => modules.graphConvolutionParameters(source, { inputs: 5, outputs: 4 }),
    (p, x, inputs) => modules.graphConvolution(p, x, edges(inputs)),
  ),
  "graph attention": subject(
    (source) => modules.graphAttentionParameters(source, { inputs: 5, outputs: 3, heads: 2 }),
    (p, x, inputs) => modules.graphAttention(p, x, edges(inputs)),
  ),
  "message passing": subject(
    (source) => ({ message: modules.denseParameters(source, { inputs: 10, outputs: 4 }) }),
    ({ message }, x, inputs) =>
      modules.passMessages(x, edges(inputs), (from, to) => relu(modules.dense(message, concat([from, to], -1)))),
  ),
};

const elements = { float32: Float32Array, int64: BigInt64Array, bool: Uint8Array };

function read({ dtype, shape, data }: Stored): Tensor {
  const bytes = Uint8Array.from(Buffer.from(data, "base64"));
  return { dtype: dtype as Dtype, shape, data: new elements[dtype](bytes.buffer) };
}

const prefixed = (prefix: string, named: StoredByName): [string, Stored][] =>
  Object.entries(named).map(([name, stored]) => [`${prefix}.${name}`, stored]);

/** Everything that a case's graph is fed, by name. */
const fedBy = ({ inputs, target, parameters, state = {} }: Case): Readonly<Record<string, Stored>> =>
  Object.fromEntries([
    ...prefixed("input", inputs),
    ...prefixed("parameter", parameters),
    ...prefixed("state", state),
    ["target", target],
  ]);

function under(prefix: string, values: Named): Named {
  const start = `${prefix}.`;
  const own = Object.entries(values).filter(([name]) => name.startsWith(start));
  return Object.fromEntries(own.map(([name, value]) => [name.slice(start.length), value]));
}

/** The first output, and parameters and state after all steps: a scan whose carry they are, as in training. */
async function trained(one: Case, changed: Readonly<Record<string, Tensor>> = {}) {
  const { parameters: template, run } = subjects[one.name] as Subject;
  const fed = fedBy(one);
  const types: Record<string, ValueType> = Object.fromEntries(
    Object.entries(fed).map(([name, { dtype, shape }]) => [name, { dtype, shape }]),
  );
  const graph = trace((values) => {
    const [inputs, start, state] = ["input", "parameter", "state"].map((name) => under(name, values)) as [
      Named,
      Named,
      Named,
    ];
    const apply = (flat: Named, moved: Named) =>
      run(rebuild(template as unknown, new Map(Object.entries(flat))), inputs, moved);
    const { carry } = scan<Carry, readonly [], readonly []>(
      ({ parameters, state: before }) => {
        let after: Named = {};
        const { gradient } = valueAndGrad((flat: Named) => {
          const made = apply(flat, before);
          after = made.state ?? {};
          const difference = sub(made.output, values.target as Value);
          return reduceMean(
            mul(difference, difference),
            difference.shape.map((_, i) => i),
          );
        })(parameters);
        const moved = Object.entries(parameters).map(([name, value]) => [
          name,
          add(value, mul(gradient[name] as Value, -one.rate)),
        ]);
        return { carry: { parameters: Object.fromEntries(moved), state: after } };
      },
      { carry: { parameters: start, state }, length: steps },
    );
    const rows = (prefix: string, named: Named) =>
      Object.fromEntries(Object.entries(named).map(([name, value]) => [`${prefix}.${name}`, value]));
    return {
      output: apply(start, state).output,
      ...rows("final", carry.parameters),
      ...rows("finalState", carry.state),
    };
  }, types);
  const feeds = Object.fromEntries(Object.entries(fed).map(([name, stored]) => [name, read(stored)]));
  return runtime.compile(graph, { weights: "fed", values: new Map() }).run({ ...feeds, ...changed });
}

type Carry = { parameters: Named; state: Named };

/** The norm of the difference, relative to that of what is stored. */
function apart(found: Tensor | undefined, stored: Stored): number {
  const wanted = read(stored).data as Float32Array;
  const difference = Math.hypot(...wanted.map((x, i) => x - Number(found?.data[i])));
  return difference / Math.hypot(...wanted);
}

const shapesOf = (named: Iterable<readonly [string, { readonly shape: Shape }]>) =>
  Object.fromEntries([...named].map(([name, { shape }]) => [name, shape]));

describe("modules", () => {
  it("has a subject for each case of the fixture, and a case for each subject", () => {
    expect(cases.map(({ name }) => name).sort()).toEqual(Object.keys(subjects).sort());
  });

  it.each(cases.map((one) => [one.name, one] as const))("%s: names and shapes of parameters", (name, one) => {
    expect(shapesOf(flatten((subjects[name] as Subject).parameters))).toEqual(shapesOf(Object.entries(one.parameters)));
  });

  it.each(cases.map((one) => [one.name, one] as const))("%s: PyTorch's output and trajectory", async (_, one) => {
    const found = await trained(one);
    expect(found.output?.shape).toEqual(one.output.shape);
    expect(apart(found.output, one.output)).toBeLessThan(2e-6); // float32 against float64: some roundings of 6e-8 each
    const off = [...prefixed("final", one.final), ...prefixed("finalState", one.finalState ?? {})]
      .map(([name, wanted]) => ({ name, distance: apart(found[name], wanted) }))
      .filter(({ distance }) => !(distance < 1e-5)); // twenty steps of such roundings; what the project promises
    expect(off).toEqual([]);
  });

  it("a weight that is a thousandth larger is seen in the output and at the end", async () => {
    const one = cases.find(({ name }) => name === "block pre-norm") as Case;
    const weight = read(one.parameters["mlp.down.weight"] as Stored);
    const larger = { ...weight, data: (weight.data as Float32Array).map((x) => x * 1.001) };
    const found = await trained(one, { "parameter.mlp.down.weight": larger });
    expect(apart(found.output, one.output)).toBeGreaterThan(1e-5);
    expect(apart(found["final.mlp.down.weight"], one.final["mlp.down.weight"] as Stored)).toBeGreaterThan(1e-5);
  });
});

describe("sites", () => {
  /** Names and shapes of what a module marks on x [2, 5, width]. */
  const marked = (width: number, run: (x: Value, site: MarkSite) => Value) => {
    const graph = trace(({ x }, site) => ({ y: run(x, site) }), { x: { dtype: "float32", shape: [2, 5, width] } });
    return shapesOf(graph.sites);
  };

  /** Parameters as values of the graph. */
  const held = <P extends Parameters>(parameters: P): Traced<P> => {
    const values = new Map([...flatten(parameters)].map(([name, x]) => [name, constant(x)]));
    return rebuild(parameters as unknown, values) as Traced<P>;
  };

  it("a transformer has the canonical ones, by the names of decoders", () => {
    const p = held(
      modules.transformerParameters(random(1), {
        layers: 2,
        width: 8,
        heads: 4,
        keyHeads: 2,
        hidden: 12,
        gated: true,
      }),
    );
    const found = marked(8, (x, site) => modules.transformer(p, x, { heads: 4, rotaryBase: 100, site }));
    const stream = [2, 5, 8];
    const layer = {
      residPre: stream,
      residMid: stream,
      residPost: stream,
      "attn.in": stream,
      "attn.q": [2, 5, 4, 2],
      "attn.k": [2, 5, 2, 2],
      "attn.v": [2, 5, 2, 2],
      "attn.qRot": [2, 5, 4, 2],
      "attn.kRot": [2, 5, 2, 2],
      "attn.scores": [2, 4, 5, 5],
      "attn.pattern": [2, 4, 5, 5],
      "attn.z": [2, 5, 4, 2],
      "attn.out": stream,
      "mlp.in": stream,
      "mlp.pre": [2, 5, 12],
      "mlp.up": [2, 5, 12],
      "mlp.act": [2, 5, 12],
      "mlp.out": stream,
    };
    const layers = [0, 1].flatMap((i) => Object.entries(layer).map(([name, shape]) => [`layers.${i}.${name}`, shape]));
    expect(found).toEqual({ ...Object.fromEntries(layers), finalNorm: stream });
  });

  it("a recurrent network has its states, an LSTM its cells too", () => {
    const run = (kind: modules.RecurrentKind) => {
      const p = held(modules.recurrentParameters(random(1), kind, { inputs: 3, hidden: 4 }));
      return marked(3, (x, site) => modules.recurrent(kind, p, x, { site }).output);
    };
    expect(run("gru")).toEqual({ state: [2, 5, 4] });
    expect(run("lstm")).toEqual({ state: [2, 5, 4], cell: [2, 5, 4] });
  });
});

describe("errors", () => {
  it("says what does not fit", () => {
    expect(() => modules.attentionParameters(random(1), { width: 10, heads: 4 })).toThrow(/width 10.*4 heads/);
    expect(() => modules.convolutionParameters(random(1), { inputs: 4, outputs: 6, kernel: [3], groups: 3 })).toThrow(
      /4 inputs.*3 groups/,
    );
  });
});

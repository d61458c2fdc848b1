/** Graphs as ONNX files: where weights lie, how outputs are named, sizes computed in the graph, and the same bytes each time. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { afterAll, describe, expect, it } from "vitest";
import { createRuntime } from "../../runtime/index.js";
import {
  add,
  constant,
  type ExportOptions,
  evaluate,
  exp,
  expand,
  exportOnnx,
  type Graph,
  input,
  matmul,
  mul,
  opset,
  pad,
  reshape,
  slice,
  splice,
  type Tensor,
  tensorOf,
  trace,
  type Value,
  weight,
  withOutputs,
} from "../index.js";
import { type ModelProto, ModelProtoSchema, TensorProto_DataLocation } from "./generated/onnx.js";

const runtime = createRuntime({ threads: 1 });
const folder = mkdtempSync(join(tmpdir(), "patchclamp-export-"));
afterAll(async () => {
  await runtime.close();
  rmSync(folder, { recursive: true });
});

const x = { dtype: "float32", shape: ["batch", 2] } as const;
const read = (graph: Graph, options?: ExportOptions): ModelProto =>
  fromBinary(ModelProtoSchema, exportOnnx(graph, options));
const names = (list: readonly { name?: string }[] | undefined) => list?.map(({ name }) => name);

describe("weights", () => {
  const w = tensorOf("float32", [2, 3], [1, 2, 3, 4, 5, 6]);
  const graph = trace((values) => ({ y: matmul(values.x, weight("w", [2, 3])) }), { x });
  const feeds = { x: tensorOf("float32", [1, 2], [10, 1]) };
  const wanted = evaluate(graph, feeds, { w }).y;

  it("are inputs unless placed", () => {
    const { graph: proto } = read(graph);
    expect(names(proto?.input)).toEqual(["x", "w"]);
    expect(proto?.initializer).toEqual([]);
  });

  it("lie inside the file where asked", async () => {
    const { graph: proto } = read(graph, { place: () => ({ kind: "inside", tensor: w }) });
    expect(names(proto?.input)).toEqual(["x"]);
    const [initializer] = proto?.initializer ?? [];
    expect(initializer).toMatchObject({ name: "w", dims: [2n, 3n], dataType: 1 });
    expect(new Float32Array(new Uint8Array(initializer?.rawData ?? []).buffer)).toEqual(w.data);
    const program = runtime.compile(graph, { weights: "baked", values: new Map([["w", w]]) });
    expect((await program.run(feeds)).y).toEqual(wanted);
  });

  it("are pointers into a file where mapped, at any offset", async () => {
    const place = { kind: "file", location: "weights.bin", offset: 7, bytes: 24 } as const;
    const { graph: proto } = read(graph, { place: () => place });
    const [initializer] = proto?.initializer ?? [];
    expect(initializer?.dataLocation).toBe(TensorProto_DataLocation.EXTERNAL);
    expect(initializer?.rawData ?? new Uint8Array()).toHaveLength(0);
    expect(initializer?.externalData.map(({ key, value }) => [key, value])).toEqual([
      ["location", "weights.bin"],
      ["offset", "7"],
      ["length", "24"],
    ]);
    const path = join(folder, "weights.bin");
    writeFileSync(path, Buffer.concat([Buffer.alloc(7, 0xff), Buffer.from(w.data.buffer)]));
    const tensors = new Map([["w", { offset: 7, bytes: 24, shape: [2, 3] }]]);
    expect((await runtime.compile(graph, { file: { path, tensors } }).run(feeds)).y).toEqual(wanted);
  });

  it("keep their own part of a larger buffer", () => {
    const part = { ...w, data: Float32Array.of(9, 9, 1, 2, 3, 4, 5, 6, 9).subarray(2, 8) };
    const bytes = read(graph, { place: () => ({ kind: "inside", tensor: part }) }).graph?.initializer[0]?.rawData;
    expect(new Float32Array(new Uint8Array(bytes ?? []).buffer)).toEqual(w.data);
  });
});

describe("outputs", () => {
  it("may share a value, be an input, a weight or a constant", async () => {
    const graph = trace(
      (values) => {
        const sum = add(values.x, weight("w", [2]));
        return {
          sum,
          again: sum,
          x: values.x,
          same: values.x,
          w2: weight("v", [1]),
          two: constant(tensorOf("int64", [], [2])),
        };
      },
      { x },
    );
    const weights = { w: tensorOf("float32", [2], [1, 2]), v: tensorOf("float32", [1], [5]) };
    const feeds = { x: tensorOf("float32", [1, 2], [10, 20]) };
    const program = runtime.compile(graph, { weights: "fed", values: new Map(Object.entries(weights)) });
    const actual = await program.run(feeds);
    expect(actual).toEqual(evaluate(graph, feeds, weights));
    expect(Object.keys(actual)).toEqual(["sum", "again", "x", "same", "w2", "two"]);
  });

  it("name their values, and sites name theirs", () => {
    const graph = trace((values, site) => ({ y: exp(site("layers.0.in", mul(values.x, 2))) }), { x });
    expect(read(graph).graph?.node.map(({ opType, output }) => [opType, output])).toEqual([
      ["Mul", ["layers.0.in"]],
      ["Exp", ["y"]],
    ]);
  });

  it("are not confused by sites that are called like an input, a weight, or another output", async () => {
    const graph = trace(
      (values, site) => {
        const doubled = site("x", mul(values.x, 2));
        const sum = site("w", add(doubled, weight("w", [2])));
        return { y: exp(site("z", sum)), z: mul(sum, 3) };
      },
      { x },
    );
    const feeds = { x: tensorOf("float32", [1, 2], [0, 0.5]) };
    const w = tensorOf("float32", [2], [0, -1]);
    const program = runtime.compile(graph, { weights: "fed", values: new Map([["w", w]]) });
    expect(await program.run(feeds)).toEqual(evaluate(graph, feeds, { w }));
  });

  it("state their types, symbolic sizes by name", () => {
    const graph = trace((values) => ({ y: reshape(values.x, ["2*batch"]) }), { x });
    const type = read(graph).graph?.output[0]?.type?.value;
    if (type?.case !== "tensorType") throw new Error("no tensor");
    expect(type.value.elemType).toBe(1);
    expect(type.value.shape?.dim.map(({ value }) => value)).toEqual([{ case: "dimParam", value: "2*batch" }]);
  });
});

describe("sizes", () => {
  const inputs = {
    a: { dtype: "float32", shape: ["batch", "past"] },
    b: { dtype: "float32", shape: ["seq", "batch"] },
  } as const;
  const graph = trace(({ a, b }) => {
    const flat = reshape(expand(reshape(a, ["batch", "past", 1]), ["batch", "past", "seq"]), ["batch*past", "seq"]);
    return {
      flat,
      sliced: slice(a, 1, "past - 2", "past"),
      padded: pad(b, 0, 0, "2*past - seq + 1"),
      square: expand(constant(tensorOf("float32", [], [1])), ["past*past", "batch + 1"]),
    };
  }, inputs);
  const feeds = {
    a: tensorOf("float32", [2, 3], [1, 2, 3, 4, 5, 6]),
    b: tensorOf("float32", [4, 2], [1, 2, 3, 4, 5, 6, 7, 8]),
  };

  it("are computed in the graph", async () => {
    const actual = await runtime.compile(graph).run(feeds);
    expect(actual).toEqual(evaluate(graph, feeds));
    expect(Object.values(actual).map(({ shape }) => shape)).toEqual([
      [6, 4],
      [2, 2],
      [7, 2],
      [9, 3],
    ]);
  });

  it("are read and computed once each", () => {
    const nodes = read(graph).graph?.node ?? [];
    expect(nodes.filter(({ opType }) => opType === "Shape")).toHaveLength(3);
    const constants = names(read(graph).graph?.initializer) ?? [];
    expect(new Set(constants).size).toBe(constants.length);
  });

  it("are read off an input that nothing else reads", async () => {
    const ones = trace((values) => ({ ones: expand(constant(tensorOf("float32", [], [1])), values.x.shape) }), { x });
    const actual = await runtime.compile(ones).run({ x: tensorOf("float32", [3, 2], new Array(6).fill(0)) });
    expect(actual.ones).toEqual(tensorOf("float32", [3, 2], new Array(6).fill(1)));
  });

  it("must be some input's", () => {
    const y = reshape(constant(tensorOf("float32", [2], [1, 2])), [1, 2]);
    const grown = expand(y, ["n", 2]);
    const bad = { inputs: [], outputs: new Map([["grown", grown]]), sites: new Map() };
    expect(() => exportOnnx(bad)).toThrow('the size of dimension "n" cannot be read off any input');
  });
});

describe("the file", () => {
  const build = () =>
    trace(
      (values, site) => {
        const h = site("h", matmul(values.x, weight("w", [2, 3])));
        return { y: add(reshape(h, ["3*batch"]), 1), h };
      },
      { x },
    );
  const edited = () => splice(build(), "h", (h: Value) => mul(h, 3));

  it("is the same, byte for byte, for the same structure", () => {
    expect(exportOnnx(build())).toEqual(exportOnnx(build()));
    expect(exportOnnx(edited())).toEqual(exportOnnx(edited()));
    expect(exportOnnx(edited())).not.toEqual(exportOnnx(build()));
  });

  it("states ONNX's versions", () => {
    const { irVersion, opsetImport, producerName } = read(build());
    expect([irVersion, producerName]).toEqual([11n, "patchclamp"]);
    expect(opsetImport.map(({ domain, version }) => [domain, version])).toEqual([["", BigInt(opset)]]);
  });

  it("gives every value one name", () => {
    const { graph: proto } = read(edited());
    const made = [
      ...(proto?.node.flatMap(({ output }) => output) ?? []),
      ...(names(proto?.input) ?? []),
      ...(names(proto?.initializer) ?? []),
    ];
    expect(new Set(made).size).toBe(made.length);
  });

  it("holds only what outputs need", () => {
    const graph = build();
    const pruned = withOutputs(graph, new Map([["h", graph.outputs.get("h") as Value]]));
    expect(read(pruned).graph?.node.map(({ opType }) => opType)).toEqual(["MatMul"]);
  });

  it("encodes constants of every element type that it names", async () => {
    const tensors: Tensor[] = [
      tensorOf("float32", [2], [1.5, -2]),
      tensorOf("float64", [2], [0.1, 2]),
      tensorOf("int64", [2], [2 ** 40, -1]),
      tensorOf("int32", [2], [7, -7]),
      tensorOf("int8", [2], [127, -128]),
      tensorOf("uint8", [2], [255, 0]),
      tensorOf("bool", [2], [1, 0]),
    ];
    const graph: Graph = {
      inputs: [input("unused", "float32", [1])],
      outputs: new Map(tensors.map((value) => [value.dtype, constant(value)])),
      sites: new Map(),
    };
    const actual = await runtime.compile(graph).run({ unused: tensorOf("float32", [1], [0]) });
    for (const value of tensors) expect(actual[value.dtype]).toEqual(value);
  });
});

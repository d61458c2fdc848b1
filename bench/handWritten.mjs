/**
 * The peer of the plain forward: SmolLM2's decoder written node by node for ONNX Runtime, with none of Patchclamp's graph
 * room in between, reading the same weights' file. Logits of all positions are its only output.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import {
  AttributeProtoSchema,
  AttributeProto_AttributeType as Kind,
  ModelProtoSchema,
  NodeProtoSchema,
  TensorProto_DataLocation,
  TensorProtoSchema,
  ValueInfoProtoSchema,
} from "../dist/graph/onnx/generated/onnx.js";

const float = 1;
const int64 = 7;

function attribute(name, value) {
  if (Array.isArray(value)) return create(AttributeProtoSchema, { name, type: Kind.INTS, ints: value.map(BigInt) });
  if (Number.isInteger(value)) return create(AttributeProtoSchema, { name, type: Kind.INT, i: BigInt(value) });
  return create(AttributeProtoSchema, { name, type: Kind.FLOAT, f: value });
}

function info(name, elemType, dims) {
  const dim = dims.map((size) =>
    typeof size === "number"
      ? { value: { case: "dimValue", value: BigInt(size) } }
      : { value: { case: "dimParam", value: size } },
  );
  return create(ValueInfoProtoSchema, {
    name,
    type: { value: { case: "tensorType", value: { elemType, shape: { dim } } } },
  });
}

/** The ONNX file of a Llama-shaped decoder over a weights' file: inputs `ids` [1, s] and `positions` [s], output `logits`. */
export function handWrittenDecoder(config, file, location) {
  const nodes = [];
  const initializers = new Map();
  let count = 0;

  const op = (opType, input, attributes = {}, output = `t${count++}`) => {
    nodes.push(
      create(NodeProtoSchema, {
        opType,
        input,
        output: [output],
        attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
      }),
    );
    return output;
  };
  const weight = (name) => {
    const { shape, offset, bytes } = file.tensors.get(name);
    const entries = { location, offset: `${offset}`, length: `${bytes}` };
    initializers.set(
      name,
      create(TensorProtoSchema, {
        name,
        dataType: float,
        dims: shape.map(BigInt),
        dataLocation: TensorProto_DataLocation.EXTERNAL,
        externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
      }),
    );
    return name;
  };
  const data = (dataType, dims, values) => {
    const name = `c${count++}`;
    const rawData = new Uint8Array(values.buffer);
    initializers.set(name, create(TensorProtoSchema, { name, dataType, dims: dims.map(BigInt), rawData }));
    return name;
  };
  const ints = (...values) => data(int64, [values.length], BigInt64Array.from(values, BigInt));
  const floats = (dims, values) => data(float, dims, Float32Array.from(values));

  const { layers, heads, keyValueHeads, headSize, epsilon, positions } = config;
  const half = headSize / 2;
  const norm = (x, name) => op("RMSNormalization", [x, weight(`${name}.weight`)], { axis: -1, epsilon });
  const angles = op("Mul", [
    op("Reshape", [op("Cast", ["positions"], { to: float }), ints(1, -1, 1, 1)]),
    floats([1, 1, 1, half], positions.inverseFrequencies),
  ]);
  const [cosine, sine] = [op("Cos", [angles]), op("Sin", [angles])];
  const [zero, middle, end, last] = [ints(0), ints(half), ints(headSize), ints(-1)];
  const rotate = (x) => {
    const a = op("Slice", [x, zero, middle, last]);
    const b = op("Slice", [x, middle, end, last]);
    const first = op("Sub", [op("Mul", [a, cosine]), op("Mul", [b, sine])]);
    const second = op("Add", [op("Mul", [b, cosine]), op("Mul", [a, sine])]);
    return op("Concat", [first, second], { axis: -1 });
  };
  const queriesAt = op("Reshape", ["positions", ints(1, 1, -1, 1)]);
  const keysAt = op("Reshape", ["positions", ints(1, 1, 1, -1)]);
  const mask = op("Where", [
    op("LessOrEqual", [keysAt, queriesAt]),
    floats([], [0]),
    floats([], [-3.4028234663852886e38]),
  ]);
  const [qShape, kvShape] = [ints(0, 0, heads, headSize), ints(0, 0, keyValueHeads, headSize)];
  const [grouped, spread, joined] = [
    ints(0, keyValueHeads, -1, headSize),
    ints(0, heads, -1, headSize),
    ints(0, 0, heads * headSize),
  ];
  const [scoreShape, weightShape] = [
    op("Concat", [ints(0), ints(heads), ints(-1), op("Shape", ["positions"])], { axis: 0 }),
    op("Concat", [ints(0), ints(keyValueHeads), ints(-1), op("Shape", ["positions"])], { axis: 0 }),
  ];
  const scale = floats([], [1 / Math.sqrt(headSize)]);

  let stream = op("Gather", [weight("embed.weight"), "ids"], { axis: 0 });
  for (let i = 0; i < layers; i++) {
    const name = `layers.${i}`;
    const x = norm(stream, `${name}.attn.norm`);
    const project = (part, shape) => op("Reshape", [op("MatMul", [x, weight(`${name}.attn.${part}.weight`)]), shape]);
    const q = op("Transpose", [op("Mul", [rotate(project("q", qShape)), scale])], { perm: [0, 2, 1, 3] });
    const k = op("Transpose", [rotate(project("k", kvShape))], { perm: [0, 2, 3, 1] });
    const v = op("Transpose", [project("v", kvShape)], { perm: [0, 2, 1, 3] });
    const scores = op("Reshape", [op("MatMul", [op("Reshape", [q, grouped]), k]), scoreShape]);
    const pattern = op("Softmax", [op("Add", [scores, mask])], { axis: -1 });
    const mixed = op("Reshape", [op("MatMul", [op("Reshape", [pattern, weightShape]), v]), spread]);
    const z = op("Reshape", [op("Transpose", [mixed], { perm: [0, 2, 1, 3] }), joined]);
    stream = op("Add", [stream, op("MatMul", [z, weight(`${name}.attn.o.weight`)])]);
    const y = norm(stream, `${name}.mlp.norm`);
    const gate = op("MatMul", [y, weight(`${name}.mlp.gate.weight`)]);
    const act = op("Mul", [
      op("Mul", [gate, op("Sigmoid", [gate])]),
      op("MatMul", [y, weight(`${name}.mlp.up.weight`)]),
    ]);
    stream = op("Add", [stream, op("MatMul", [act, weight(`${name}.mlp.down.weight`)])]);
  }
  op("MatMul", [norm(stream, "finalNorm"), weight("unembed.weight")], {}, "logits");

  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: 11n,
      opsetImport: [{ domain: "", version: 23n }],
      graph: {
        name: "by hand",
        node: nodes,
        initializer: [...initializers.values()],
        input: [info("ids", int64, [1, "s"]), info("positions", int64, ["s"])],
        output: [info("logits", float, [1, "s", config.vocabulary])],
      },
    }),
  );
}

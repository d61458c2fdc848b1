/**
 * A graph as an ONNX file. Weights are pointers into a file, inputs of the graph, or bytes inside it; the caller says which.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { failure } from "../../errors.js";
import { type Dim, type Shape, termsOf } from "../dims.js";
import { type Graph, leafName, type Node, topologicalOrder, type Value, type ValueType } from "../graph.js";
import { onnxDtype } from "../operations/elementwise.js";
import type { Emitter, OnnxAttribute } from "../operations/operation.js";
import { operationNamed } from "../operations/table.js";
import type { Tensor } from "../tensor.js";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "./generated/onnx.js";

/** The version of ONNX's operators that graphs are written in: the first with RMSNormalization. */
export const opset = 23;

/** Where a weight's bytes lie: in a file (relative to the graph's own folder), in the ONNX file, or fed at every run. */
export type WeightPlacement =
  | { readonly kind: "file"; readonly location: string; readonly offset: number; readonly bytes: number }
  | { readonly kind: "inside"; readonly tensor: Tensor }
  | { readonly kind: "fed" };

export interface ExportOptions {
  /** How each weight reaches the runtime; fed unless given. */
  readonly place?: (name: string, type: ValueType) => WeightPlacement;
}

/** The ONNX file (bytes of a ModelProto) of a graph. */
export function exportOnnx(graph: Graph, { place = () => ({ kind: "fed" }) }: ExportOptions = {}): Uint8Array {
  const writer = new Writer(graph);
  const order = topologicalOrder(graph.outputs.values());
  const inputs = graph.inputs.map((value) => valueInfo(leafName(value), value));
  const initializers: TensorProto[] = [];
  for (const node of order) {
    if (node.operation === "input") continue;
    const value = node.outputs[0] as Value;
    if (node.operation === "constant") {
      initializers.push(tensorProto(writer.name(value), node.attributes.tensor as Tensor));
    } else if (node.operation === "weight") {
      const placement = place(leafName(value), value);
      if (placement.kind === "fed") inputs.push(valueInfo(leafName(value), value));
      else initializers.push(placedWeight(leafName(value), value, placement));
    } else {
      operationNamed(node.operation).emit(node, node.attributes, writer);
    }
  }
  writer.finishOutputs();
  const model = create(ModelProtoSchema, {
    irVersion: 11n,
    producerName: "patchclamp",
    opsetImport: [
      { domain: "", version: BigInt(opset) },
      ...writer.domains().map((domain) => ({ domain, version: 1n })),
    ],
    graph: {
      name: "patchclamp",
      node: writer.nodes,
      initializer: [...initializers, ...writer.constants],
      input: inputs,
      output: [...graph.outputs].map(([name, value]) => valueInfo(name, value)),
    },
  });
  return toBinary(ModelProtoSchema, model);
}

/** Collects ONNX nodes; also the naming of values. State lives only as long as one export. */
class Writer implements Emitter {
  readonly nodes: NodeProto[] = [];
  readonly constants: TensorProto[] = [];
  readonly #names = new Map<Value, string>();
  readonly #shared = new Map<string, string>();
  readonly #graph: Graph;
  #count = 0;

  constructor(graph: Graph) {
    this.#graph = graph;
    const leaves = topologicalOrder(graph.outputs.values()).filter(({ attributes }) => attributes.name !== undefined);
    const taken = new Set([
      ...graph.outputs.keys(),
      ...[...leaves, ...graph.inputs.map(({ node }) => node)].map(nameOf),
    ]);
    for (const [name, value] of graph.outputs) {
      const leaf = value.node.inputs.length === 0;
      if (!leaf && !this.#names.has(value)) this.#names.set(value, name);
    }
    for (const [name, value] of graph.sites) {
      if (!this.#names.has(value) && value.node.inputs.length > 0 && !taken.has(name)) this.#names.set(value, name);
    }
  }

  name(value: Value): string {
    const { operation } = value.node;
    if (operation === "input" || operation === "weight") return leafName(value);
    let name = this.#names.get(value);
    if (name === undefined) {
      name = this.#fresh(operation);
      this.#names.set(value, name);
    }
    return name;
  }

  node(type: string, inputs: readonly string[], options: Parameters<Emitter["node"]>[2] = {}): string[] {
    const outputs = options.outputs ?? Array.from({ length: options.count ?? 1 }, () => this.#fresh(type));
    this.nodes.push(
      create(NodeProtoSchema, {
        name: `${type} -> ${outputs[0]}`,
        opType: type.slice(type.lastIndexOf(".") + 1),
        domain: type.slice(0, Math.max(0, type.lastIndexOf("."))),
        input: [...inputs],
        output: [...outputs],
        attribute: Object.entries(options.attributes ?? {}).map(([name, value]) => attributeProto(name, value)),
      }),
    );
    return [...outputs];
  }

  /** The domains of operators that are not ONNX's own. */
  domains(): string[] {
    return [...new Set(this.nodes.map(({ domain }) => domain))].filter((domain) => domain !== "");
  }

  int64(values: readonly number[]): string {
    return this.#once(`int64 ${values.join(",")}`, () => {
      const name = this.#fresh("int64");
      const data = BigInt64Array.from(values, BigInt);
      this.constants.push(tensorProto(name, { dtype: "int64", shape: [values.length], data }));
      return name;
    });
  }

  dims(shape: Shape): string {
    if (shape.every((dim) => typeof dim === "number")) return this.int64(shape);
    return this.#once(`dims ${shape.join(",")}`, () => {
      const parts = shape.map((dim) => this.#dim(dim));
      return parts.length === 1
        ? (parts[0] as string)
        : (this.node("Concat", parts, { attributes: { axis: 0 } })[0] as string);
    });
  }

  /** Outputs that share a value with another output, or are leaves, get their names by an Identity. */
  finishOutputs(): void {
    for (const [name, value] of this.#graph.outputs) {
      if (this.name(value) !== name) this.node("Identity", [this.name(value)], { outputs: [name] });
    }
  }

  /** A one-element tensor with the value of a dimension: a sum of products of sizes read off the inputs' shapes. */
  #dim(dim: Dim): string {
    if (typeof dim === "number") return this.int64([dim]);
    return this.#once(`dim ${dim}`, () => {
      const terms = termsOf(dim).map(({ coefficient, symbols }) => {
        const factors = symbols.map((symbol) => this.#symbol(symbol));
        if (coefficient !== 1 || factors.length === 0) factors.unshift(this.int64([coefficient]));
        return factors.reduce((a, b) => this.node("Mul", [a, b])[0] as string);
      });
      return terms.reduce((a, b) => this.node("Add", [a, b])[0] as string);
    });
  }

  #symbol(symbol: string): string {
    return this.#once(`symbol ${symbol}`, () => {
      for (const value of this.#graph.inputs) {
        const axis = value.shape.indexOf(symbol);
        if (axis < 0) continue;
        const attributes = { start: axis, end: axis + 1 };
        return this.node("Shape", [this.name(value)], { attributes })[0] as string;
      }
      throw failure(`the size of dimension "${symbol}" cannot be read off any input of the graph`);
    });
  }

  #once(key: string, make: () => string): string {
    let name = this.#shared.get(key);
    if (name === undefined) {
      name = make();
      this.#shared.set(key, name);
    }
    return name;
  }

  #fresh(hint: string): string {
    this.#count += 1;
    return `_${hint}_${this.#count}`;
  }
}

const nameOf = (leaf: Node) => leaf.attributes.name as string;

function attributeProto(name: string, value: OnnxAttribute): AttributeProto {
  const type = AttributeProto_AttributeType;
  if (typeof value === "string")
    return create(AttributeProtoSchema, { name, type: type.STRING, s: new TextEncoder().encode(value) });
  if (typeof value === "number") return create(AttributeProtoSchema, { name, type: type.INT, i: BigInt(value) });
  if ("float" in value) return create(AttributeProtoSchema, { name, type: type.FLOAT, f: value.float });
  return create(AttributeProtoSchema, { name, type: type.INTS, ints: value.map(BigInt) });
}

function valueInfo(name: string, { dtype, shape }: ValueType): ValueInfoProto {
  const dim = shape.map((size) => ({
    value:
      typeof size === "number"
        ? { case: "dimValue" as const, value: BigInt(size) }
        : { case: "dimParam" as const, value: size },
  }));
  return create(ValueInfoProtoSchema, {
    name,
    type: { value: { case: "tensorType", value: { elemType: onnxDtype[dtype], shape: { dim } } } },
  });
}

function tensorProto(name: string, { dtype, shape, data }: Tensor): TensorProto {
  return create(TensorProtoSchema, {
    name,
    dataType: onnxDtype[dtype],
    dims: shape.map(BigInt),
    rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  });
}

function placedWeight(
  name: string,
  { dtype, shape }: ValueType,
  placement: Exclude<WeightPlacement, { kind: "fed" }>,
): TensorProto {
  if (placement.kind === "inside") return tensorProto(name, placement.tensor);
  const entries = { location: placement.location, offset: `${placement.offset}`, length: `${placement.bytes}` };
  return create(TensorProtoSchema, {
    name,
    dataType: onnxDtype[dtype],
    dims: shape.map((dim) => BigInt(dim)),
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
  });
}

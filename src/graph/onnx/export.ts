/**
 * A graph as an ONNX file. Weights are pointers into a file, inputs of the graph, or bytes inside it; the caller says which.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { failure } from "../../errors.js";
import { type Dim, type Shape, termsOf } from "../dims.js";
import { type Graph, leafName, type Node, topologicalOrder, type Value, type ValueType, weightsOf } from "../graph.js";
import { onnxDtype } from "../operations/elementwise.js";
import type { Emitter, OnnxAttribute, OnnxBody } from "../operations/operation.js";
import { operationNamed } from "../operations/table.js";
import type { Tensor } from "../tensor.js";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
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
  const inputs = graph.inputs.map((value) => valueInfo(leafName(value), value));
  for (const value of weightsOf(graph).values()) {
    const placement = place(leafName(value), value);
    if (placement.kind === "fed") inputs.push(valueInfo(leafName(value), value));
    else writer.initializers.push(placedWeight(leafName(value), value, placement));
  }
  const written = writer.write("patchclamp", inputs);
  const model = create(ModelProtoSchema, {
    irVersion: 11n,
    producerName: "patchclamp",
    opsetImport: [
      { domain: "", version: BigInt(opset) },
      ...[...writer.domains].map((domain) => ({ domain, version: 1n })),
    ],
    graph: written,
  });
  return toBinary(ModelProtoSchema, model);
}

/**
 * Collects the ONNX nodes of one graph; also the naming of its values. State lives only as long as one export. Writers of
 * nested graphs share the outermost one's made-up names, so that none hides another, and its constants and sizes, which
 * they read by name.
 */
class Writer implements Emitter {
  readonly initializers: TensorProto[] = [];
  readonly domains: Set<string>;
  readonly #nodes: NodeProto[] = [];
  readonly #names: Map<Value, string>;
  readonly #shared = new Map<string, string>();
  readonly #constants: TensorProto[] = [];
  readonly #graph: Graph;
  readonly #order: readonly Node[];
  readonly #read: ReadonlySet<Value>;
  readonly #returned: ReadonlySet<Value>;
  readonly #outermost: Writer;
  #count = 0;

  constructor(graph: Graph, names: Map<Value, string> = new Map(), outermost?: Writer) {
    this.#graph = graph;
    this.#names = names;
    this.#outermost = outermost ?? this;
    this.domains = outermost?.domains ?? new Set();
    this.#order = topologicalOrder(graph.outputs.values());
    this.#read = new Set([...this.#order.flatMap(({ inputs }) => inputs), ...graph.outputs.values()]);
    this.#returned = new Set(graph.outputs.values());
    const leaves = this.#order.filter(({ attributes }) => attributes.name !== undefined);
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

  /** Writes every node of the graph; once. */
  write(name: string, inputs: ValueInfoProto[]): GraphProto {
    const constants: TensorProto[] = [];
    for (const node of this.#order) {
      if (node.operation === "input" || node.operation === "weight") continue;
      if (node.operation !== "constant") operationNamed(node.operation).emit(node, node.attributes, this);
      else constants.push(tensorProto(this.name(node.outputs[0] as Value), node.attributes.tensor as Tensor));
    }
    this.#finishOutputs();
    return create(GraphProtoSchema, {
      name,
      node: this.#nodes,
      initializer: [...constants, ...this.initializers, ...this.#constants],
      input: inputs,
      output: [...this.#graph.outputs].map(([output, value]) => valueInfo(output, value)),
      valueInfo: this.#known(),
    });
  }

  /**
   * What is known of sizes that the runtime would have to infer. Without it, it (1.30) makes a name of its own for each
   * size that a Reshape leaves open and compares it with all others: opening 4,000 nodes took 2 s in place of 0.2.
   */
  #known(): ValueInfoProto[] {
    const made = this.#order.flatMap(({ inputs, outputs }) => (inputs.length > 0 ? outputs : []));
    const inner = made.filter((value) => this.reads(value) && !this.returns(value));
    return inner.map((value) => valueInfo(this.name(value), value));
  }

  name(value: Value): string {
    const known = this.#names.get(value);
    if (known !== undefined) return known;
    const { operation } = value.node;
    const name = operation === "input" || operation === "weight" ? leafName(value) : this.#fresh(operation);
    this.#names.set(value, name);
    return name;
  }

  reads(value: Value): boolean {
    return this.#read.has(value);
  }

  returns(value: Value): boolean {
    return this.#returned.has(value);
  }

  node(type: string, inputs: readonly string[], options: Parameters<Emitter["node"]>[2] = {}): string[] {
    const outputs = options.outputs ?? Array.from({ length: options.count ?? 1 }, () => this.#fresh(type));
    const domain = type.slice(0, Math.max(0, type.lastIndexOf(".")));
    if (domain !== "") this.domains.add(domain);
    this.#nodes.push(
      create(NodeProtoSchema, {
        name: `${type} -> ${outputs[0]}`,
        opType: type.slice(type.lastIndexOf(".") + 1),
        domain,
        input: [...inputs],
        output: [...outputs],
        attribute: Object.entries(options.attributes ?? {}).map(([name, value]) => this.#attribute(name, value)),
      }),
    );
    return [...outputs];
  }

  /** The ONNX form of an attribute: of a body, a graph whose inputs are those that are not captured. */
  #attribute(name: string, value: OnnxAttribute): AttributeProto {
    if (typeof value !== "object" || !("body" in value)) return attributeProto(name, value);
    const { body, captured } = value;
    const own = body.inputs.slice(0, body.inputs.length - captured.length);
    const names = [...own.map(() => this.#fresh("in")), ...captured];
    const outputs = new Map([...body.outputs.values()].map((output) => [this.#fresh("out"), output]));
    const known = new Map(body.inputs.map((input, i) => [input, names[i] as string]));
    const writer = new Writer({ ...body, outputs }, known, this.#outermost);
    const inputs = own.map((input, i) => valueInfo(names[i] as string, input));
    return create(AttributeProtoSchema, {
      name,
      type: AttributeProto_AttributeType.GRAPH,
      g: writer.write(name, inputs),
    });
  }

  int64(values: readonly number[]): string {
    if (this.#outermost !== this) return this.#outermost.int64(values);
    return this.#once(`int64 ${values.join(",")}`, () => {
      const name = this.#fresh("int64");
      const data = BigInt64Array.from(values, BigInt);
      this.#constants.push(tensorProto(name, { dtype: "int64", shape: [values.length], data }));
      return name;
    });
  }

  dims(shape: Shape): string {
    if (this.#outermost !== this) return this.#outermost.dims(shape);
    if (shape.every((dim) => typeof dim === "number")) return this.int64(shape);
    return this.#once(`dims ${shape.join(",")}`, () => {
      const parts = shape.map((dim) => this.#dim(dim));
      return parts.length === 1
        ? (parts[0] as string)
        : (this.node("Concat", parts, { attributes: { axis: 0 } })[0] as string);
    });
  }

  /** Outputs that share a value with another output, or are leaves, get their names by an Identity. */
  #finishOutputs(): void {
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
    if (this.#outermost !== this) return this.#outermost.#fresh(hint);
    this.#count += 1;
    return `_${hint}_${this.#count}`;
  }
}

const nameOf = (leaf: Node) => leaf.attributes.name as string;

function attributeProto(name: string, value: Exclude<OnnxAttribute, OnnxBody>): AttributeProto {
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

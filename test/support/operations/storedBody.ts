/** Bodies of control flow in stored cases: graphs as JSON, read back into graphs. */
import {
  type Attribute,
  type Attributes,
  apply,
  type Dtype,
  type Graph,
  input,
  operationNamed,
  type Value,
} from "../../../src/graph/index.js";

/** Nodes have one output; `of` names inputs of the body and nodes before. */
interface StoredBody {
  readonly inputs: readonly { readonly name: string; readonly dtype: Dtype; readonly shape: readonly number[] }[];
  readonly nodes: readonly {
    readonly name: string;
    readonly operation: string;
    readonly of: readonly string[];
    readonly attributes: Attributes;
  }[];
  readonly outputs: readonly string[];
}

/** A stored attribute, or a body. */
export type StoredAttribute = Attribute | { readonly body: StoredBody };

/** Attributes with their bodies as graphs. */
export function readAttributes(stored: Readonly<Record<string, StoredAttribute>>): Attributes {
  return Object.fromEntries(
    Object.entries(stored).map(([name, value]) => [
      name,
      typeof value === "object" && "body" in value ? readBody(value.body) : value,
    ]),
  );
}

function readBody({ inputs, nodes, outputs }: StoredBody): Graph {
  const own = inputs.map(({ name, dtype, shape }) => input(name, dtype, shape));
  const values = new Map(own.map((value, i) => [inputs[i]?.name, value]));
  const get = (name: string) => values.get(name) as Value;
  for (const { name, operation, of, attributes } of nodes)
    values.set(name, apply(operationNamed(operation), of.map(get), attributes)[0] as Value);
  return { inputs: own, outputs: new Map(outputs.map((name, i) => [`out${i}`, get(name)])), sites: new Map() };
}

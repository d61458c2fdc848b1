/**
 * Parameters are nested objects and lists of tensors: plain data, with no class behind it. Traced, the same structure holds
 * a value of the graph for each tensor; flat, every tensor has a dotted path for a name (`layers.0.attn.q.weight`).
 */
import { usageError } from "../errors.js";
import type { Value } from "../graph/index.js";
import type { Tensor } from "../runtime/index.js";

/** A float32 tensor, or a list or object of such trees. */
export type Parameters = Tensor<"float32"> | readonly Parameters[] | { readonly [key: string]: Parameters };

/** The structure of parameters with another kind of leaf. */
export type Mapped<P, Leaf> = P extends Tensor ? Leaf : { readonly [Key in keyof P]: Mapped<P[Key], Leaf> };

/** The structure of parameters with a value of the graph for each tensor: what a traced function reads. */
export type Traced<P> = Mapped<P, Value>;

const isTensor = (tree: Parameters): tree is Tensor<"float32"> =>
  "dtype" in tree && "data" in tree && ArrayBuffer.isView((tree as { data: unknown }).data);

const join = (prefix: string, key: string) => (prefix === "" ? key : `${prefix}.${key}`);

/** Every tensor by its path, in the order in which they are written. A lone tensor has the path "". */
export function flatten(parameters: Parameters, prefix = ""): Map<string, Tensor<"float32">> {
  if (isTensor(parameters)) return new Map([[prefix, parameters]]);
  const entries = Object.entries<Parameters>(parameters as Readonly<Record<string, Parameters>>);
  return new Map(entries.flatMap(([key, part]) => [...flatten(part, join(prefix, key))]));
}

/**
 * The structure of `template` with the leaves given by path.
 *
 * @throws where a path of the template has no leaf
 */
export function rebuild<P, Leaf>(template: P, leaves: ReadonlyMap<string, Leaf>): Mapped<P, Leaf> {
  const visit = (tree: Parameters, path: string): unknown => {
    if (isTensor(tree)) {
      const leaf = leaves.get(path);
      if (leaf === undefined) throw usageError(`there is no value for the parameter "${path}"`);
      return leaf;
    }
    if (Array.isArray(tree)) return (tree as readonly Parameters[]).map((part, i) => visit(part, join(path, `${i}`)));
    const entries = Object.entries<Parameters>(tree as Readonly<Record<string, Parameters>>);
    return Object.fromEntries(entries.map(([key, part]) => [key, visit(part, join(path, key))]));
  };
  return visit(template as unknown as Parameters, "") as Mapped<P, Leaf>;
}

/** How many numbers parameters hold. */
export function parameterCount(parameters: Parameters): number {
  return [...flatten(parameters).values()].reduce((sum, { data }) => sum + data.length, 0);
}

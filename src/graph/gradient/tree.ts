/** Nested objects and lists of values: how parameters and their gradients are written. */
import { usageError } from "../../errors.js";
import type { Value } from "../graph.js";

/** A value, or a list or object of trees. */
export type Tree = Value | readonly Tree[] | { readonly [key: string]: Tree };

const isValue = (tree: Tree): tree is Value => "node" in tree && "dtype" in tree && "shape" in tree;

/** The values of a tree, in the order in which they are written. */
export function leavesOf(tree: Tree): Value[] {
  if (isValue(tree)) return [tree];
  return Object.values<Tree>(tree as Readonly<Record<string, Tree>>).flatMap(leavesOf);
}

/** A tree of the same structure with other leaves. */
export function replaceLeaves<T extends Tree>(tree: T, leaves: readonly Value[]): T {
  let next = 0;
  const visit = (old: Tree): Tree => {
    if (isValue(old)) return leaves[next++] as Value;
    if (Array.isArray(old)) return (old as readonly Tree[]).map(visit);
    return Object.fromEntries(
      Object.entries(old as Readonly<Record<string, Tree>>).map(([key, part]) => [key, visit(part)]),
    );
  };
  const result = visit(tree) as T;
  if (next !== leaves.length) throw usageError(`a tree of ${next} values was given ${leaves.length}`);
  return result;
}

/**
 * The values of `tree` in the order of the leaves of `template`, which must have the same structure; `what` is how an error
 * calls the tree.
 */
export function leavesLike(template: Tree, tree: Tree, what: string): Value[] {
  if (isValue(template) || isValue(tree)) {
    if (isValue(template) && isValue(tree)) return [tree];
    throw usageError(`${what} must keep its structure: a value stands where there was none, or the reverse`);
  }
  const parts = (whole: Tree) => new Map(Object.entries<Tree>(whole as Readonly<Record<string, Tree>>));
  const [wanted, given] = [parts(template), parts(tree)];
  const odd = [...wanted.keys(), ...given.keys()].find((key) => !wanted.has(key) || !given.has(key));
  if (odd !== undefined) throw usageError(`${what} must keep its structure: "${odd}" is in one and not in the other`);
  return [...wanted].flatMap(([key, part]) => leavesLike(part, given.get(key) as Tree, what));
}

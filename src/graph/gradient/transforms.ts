/**
 * Gradients of functions: `grad` and its kin take a traced function and return another. Parameters may be nested objects
 * and lists of values; gradients have the same structure.
 *
 * Forward mode is reverse mode twice: the pullback is linear in its cotangent, and its own transpose is the push-forward.
 * One table of rules serves both, and a simplified graph holds nothing of the detour.
 */
import { failure, usageError } from "../../errors.js";
import { describe, input, topologicalOrder, type Value } from "../graph.js";
import { identity } from "../operations/barriers.js";
import { add, constantLike } from "../operations/elementwise.js";
import { zerosLike } from "../operations/patterns.js";
import { pullback } from "./pullback.js";
import { leavesOf, replaceLeaves, type Tree } from "./tree.js";

/**
 * Gradients of a scalar at any values that it depends on; zeros where it does not depend on one.
 *
 * @throws where `of` is no scalar or holds whole numbers, or an operation in between has no gradient rule
 */
export function gradients(of: Value, at: readonly Value[]): Value[] {
  const found = pullback(new Map([[requireScalar(of), constantLike(of, 1)]]), at);
  return found.map((gradient, i) => gradient ?? zerosLike(at[i] as Value));
}

function requireScalar(value: Value): Value {
  if (value.shape.length === 0) return value;
  throw usageError(
    `a gradient is taken of one number, and this is ${describe(value)}: reduce it to a scalar (reduceSum, reduceMean, one element), or use vjp() or jacobian()`,
  );
}

/** A function of a tree of values (and of others, which get no gradient) and its gradient there, in one graph. */
export function valueAndGrad<T extends Tree, Rest extends readonly unknown[]>(
  fn: (parameters: T, ...rest: Rest) => Value,
): (parameters: T, ...rest: Rest) => { readonly value: Value; readonly gradient: T } {
  return (parameters, ...rest) => {
    const own = distinct(parameters);
    const value = fn(own, ...rest);
    return { value, gradient: replaceLeaves(own, gradients(value, leavesOf(own))) };
  };
}

/** The gradient of a scalar function with respect to its first argument, a tree of values. */
export function grad<T extends Tree, Rest extends readonly unknown[]>(
  fn: (parameters: T, ...rest: Rest) => Value,
): (parameters: T, ...rest: Rest) => T {
  return (parameters, ...rest) => valueAndGrad(fn)(parameters, ...rest).gradient;
}

/** The value of a function and its pullback: cotangents of the outputs to gradients of the arguments (v^T J). */
export function vjp<X extends Tree, Y extends Tree>(
  fn: (x: X) => Y,
  x: X,
): { readonly value: Y; readonly pullback: (cotangent: Y) => X } {
  const own = distinct(x);
  const value = fn(own);
  return {
    value,
    pullback: (cotangent) => {
      const leaves = leavesOf(own);
      const found = pullback(seeds(leavesOf(value), leavesOf(cotangent)), leaves);
      return replaceLeaves(
        own,
        found.map((gradient, i) => gradient ?? zerosLike(leaves[i] as Value)),
      );
    },
  };
}

/** The value of a function and its derivative along a tangent of the argument (J t). */
export function jvp<X extends Tree, Y extends Tree>(
  fn: (x: X) => Y,
  x: X,
  tangent: X,
): { readonly value: Y; readonly tangent: Y } {
  const own = distinct(x);
  const value = fn(own);
  return { value, tangent: replaceLeaves(value, pushForward(leavesOf(value), leavesOf(own), leavesOf(tangent))) };
}

/**
 * Derivatives of `outputs` along `tangents` of the values `at`: the transpose of the pullback. Zeros where an output does
 * not depend on them.
 */
export function pushForward(outputs: readonly Value[], at: readonly Value[], tangents: readonly Value[]): Value[] {
  const cotangents = outputs.map(({ dtype, shape }, i) => input(`cotangent ${i}`, dtype, shape));
  const back = pullback(seeds(outputs, cotangents), at, { recompute: false });
  const reached = back.flatMap((gradient, i) =>
    gradient === undefined ? [] : [[gradient, tangents[i] as Value] as const],
  );
  const found = pullback(accumulated(reached), cotangents, { recompute: false });
  const results = found.map((derivative, i) => derivative ?? zerosLike(outputs[i] as Value));
  const left = topologicalOrder(results).some((node) => cotangents.some((value) => value.node === node));
  if (left) throw failure("a gradient rule is not linear in the gradient that it is given, so it has no forward mode");
  return results;
}

function seeds(values: readonly Value[], given: readonly Value[]): Map<Value, Value> {
  if (values.length !== given.length)
    throw usageError(`there are ${values.length} outputs and ${given.length} cotangents: give one for each`);
  return accumulated(values.map((value, i) => [value, given[i] as Value] as const));
}

/** Seeds as a map, those of one value added. */
function accumulated(pairs: readonly (readonly [Value, Value])[]): Map<Value, Value> {
  const result = new Map<Value, Value>();
  for (const [value, gradient] of pairs) {
    const known = result.get(value);
    result.set(value, known === undefined ? gradient : add(known, gradient));
  }
  return result;
}

/** The same tree, each leaf a node of its own, so that one value passed twice has two gradients. */
function distinct<T extends Tree>(tree: T): T {
  return replaceLeaves(tree, leavesOf(tree).map(identity));
}

/** The product of the Hessian of a scalar function at `x` with `vector`: forward over reverse. */
export function hessianVectorProduct<X extends Tree>(fn: (x: X) => Value, x: X, vector: X): X {
  return jvp(grad(fn), x, vector).tangent;
}

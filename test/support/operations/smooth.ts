/**
 * A case made smooth: its float inputs replaced by numbers that lie apart from each other and from the kinks of rounding
 * and of rectifiers, so that differences of values are derivatives.
 */
import { elementCount, isFloat, type Tensor, tensorOf } from "../../../src/graph/index.js";
import type { OperationCase, OperationCases, Range } from "./case.js";

const usual: Range = [-2, 2.3];

/** A small generator of fractions: cases need spread, not randomness. */
function fractions(seed: number): () => number {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Numbers between the ends of a range, each in a cell of its own, in mixed order. */
function ladder([low, high]: Range, count: number, places: readonly number[], next: () => number): number[] {
  return places.map((place) => {
    const x = low + ((high - low) * (place + 0.5 + 0.3 * (next() - 0.5))) / count;
    return Math.abs(2 * x - Math.round(2 * x)) < 0.02 ? x + 0.03 : x;
  });
}

function mixed(count: number, next: () => number): number[] {
  const keys = Array.from({ length: count }, (_, i) => ({ i, key: next() }));
  return keys.sort((a, b) => a.key - b.key).map(({ i }) => i);
}

/** The case's inputs made smooth, with a direction for each float input. `k` seeds the numbers. */
export function smoothed(own: OperationCase, { smooth = usual }: OperationCases, k: number) {
  const next = fractions(k + 1);
  const float = own.tensors.flatMap(({ dtype }, i) => (isFloat(dtype) ? [i] : []));
  const count = float.reduce((sum, i) => sum + elementCount((own.tensors[i] as Tensor).shape), 0);
  const places = mixed(count, next);
  const rangeOf = (i: number): Range =>
    typeof smooth[0] === "number" ? (smooth as Range) : ((smooth as readonly Range[])[i] ?? usual);
  let start = 0;
  const tensors = own.tensors.map((value, i) => {
    if (!float.includes(i)) return value;
    const size = elementCount(value.shape);
    const numbers = ladder(rangeOf(i), count, places.slice(start, start + size), next);
    start += size;
    return tensorOf("float64", value.shape, numbers);
  });
  const directions = float.map((i) => {
    const { shape } = own.tensors[i] as Tensor;
    return tensorOf(
      "float64",
      shape,
      Array.from({ length: elementCount(shape) }, () => 2 * next() - 1),
    );
  });
  return { case: own, tensors, float, directions };
}

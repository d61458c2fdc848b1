/**
 * The eigenvalues of D + ρ z zᵀ are the roots of the secular function f(λ) = 1 + ρ Σ zᵢ² / (dᵢ − λ), one between each
 * pair of neighbouring dᵢ and one behind the last. Each root is kept as its distances to all dᵢ, which is what keeps the
 * eigenvectors orthogonal (Gu & Eisenstat 1994; the iteration is the "middle way" of Li 1993, inside a bracket).
 */
import { epsilon } from "./matrix.js";

/** A diagonal matrix and the vector and weight of its rank-one change: `poles` ascending, every z non-zero. */
export interface RankOneChange {
  readonly poles: Float64Array;
  readonly z: Float64Array;
  /** Positive. */
  readonly weight: number;
}

/** f at one point: its value, the sums of terms up to and behind the root, and the derivatives of those sums. */
interface Secular {
  readonly value: number;
  readonly size: number;
  readonly slopeBelow: number;
  readonly slopeAbove: number;
}

/** More steps than any root has needed by far (some 6); what ends the loop in practice is the bracket or the residual. */
const maxSteps = 200;

/**
 * The root behind `poles[index]`. Returns it, and writes poles[i] − root into `distances` with full relative accuracy.
 */
export function secularRoot(change: RankOneChange, index: number, distances: Float64Array): number {
  const { poles, z, weight } = change;
  const count = poles.length;
  const last = index === count - 1;
  const below = poles[index] as number;
  let zz = 0;
  for (let i = 0; last && i < count; i++) zz += (z[i] as number) ** 2;
  const gap = last ? weight * zz : (poles[index + 1] as number) - below;
  const moved = (origin: number, x: number) => {
    for (let i = 0; i < count; i++) distances[i] = (poles[i] as number) - origin - x;
  };
  moved(below, gap / 2);
  const middle = evaluate(change, index, distances);
  // The nearer pole is the origin: the distance to it is then exact however small it is.
  const fromAbove = !last && middle.value < 0;
  const origin = fromAbove ? (poles[index + 1] as number) : below;
  let [low, high] = fromAbove ? [-gap / 2, 0] : [0, 2 * gap];
  let x = fromAbove ? low : gap / 2;
  let state = middle;
  for (let step = 0; step < maxSteps; step++) {
    if (Math.abs(state.value) <= 8 * epsilon * state.size) break;
    if (state.value < 0) low = Math.max(low, x);
    else high = Math.min(high, x);
    const proposed = nextPoint(state, distances, index, x);
    const next = proposed > low && proposed < high ? proposed : low + (high - low) / 2;
    if (next === x || next <= low || next >= high) break;
    x = next;
    moved(origin, x);
    state = evaluate(change, index, distances);
  }
  return origin + x;
}

function evaluate({ z, weight }: RankOneChange, index: number, distances: Float64Array): Secular {
  let [below, slopeBelow, above, slopeAbove] = [0, 0, 0, 0];
  for (let i = 0; i <= index; i++) {
    const ratio = (z[i] as number) / (distances[i] as number);
    below += (z[i] as number) * ratio;
    slopeBelow += ratio * ratio;
  }
  for (let i = index + 1; i < z.length; i++) {
    const ratio = (z[i] as number) / (distances[i] as number);
    above += (z[i] as number) * ratio;
    slopeAbove += ratio * ratio;
  }
  return {
    value: 1 + weight * (below + above),
    size: 1 + weight * (above - below),
    slopeBelow: weight * slopeBelow,
    slopeAbove: weight * slopeAbove,
  };
}

/**
 * The root of c + s / (δ₁ − x) + S / (δ₂ − x), which has the value and both slopes of f at `x`; δ are the poles beside
 * the root. Behind the last pole there is only the first fraction.
 */
function nextPoint(state: Secular, distances: Float64Array, index: number, x: number): number {
  const first = distances[index] as number;
  const second = distances[index + 1];
  if (second === undefined) {
    const c = state.value - first * state.slopeBelow;
    return x + first + (first * first * state.slopeBelow) / c;
  }
  const c = state.value - first * state.slopeBelow - second * state.slopeAbove;
  const a = (first + second) * state.value - first * second * (state.slopeBelow + state.slopeAbove);
  const b = first * second * state.value;
  const root = Math.sqrt(Math.max(0, a * a - 4 * b * c));
  return x + (a <= 0 ? (a - root) / (2 * c) : (2 * b) / (a + root));
}

/**
 * The z whose secular function has exactly the computed roots (Löwner's formula): eigenvectors made from it are
 * orthogonal to rounding, however close the roots are. `distances[j]` holds poles − root j.
 */
export function consistentVector({ poles, z }: RankOneChange, distances: readonly Float64Array[]): Float64Array {
  const count = poles.length;
  return z.map((original, i) => {
    let square = -(distances[count - 1]?.[i] as number);
    for (let j = 0; j < count - 1; j++) {
      const pole = poles[j < i ? j : j + 1] as number;
      square *= (distances[j]?.[i] as number) / ((poles[i] as number) - pole);
    }
    return Math.sign(original) * Math.sqrt(Math.abs(square));
  });
}

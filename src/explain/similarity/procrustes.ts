/**
 * Orthogonal Procrustes (Schönemann 1966; as a distance of representations Williams et al. 2021, "Generalized Shape
 * Metrics on Neural Representations"): the rotation that brings one set of examples nearest to another, and what is
 * left.
 */

import { usageError } from "../../errors.js";
import { columnMoments, type Matrix, type ProductOptions, product, svd } from "../../linalg/index.js";
import type { Runtime, Tensor } from "../../runtime/index.js";
import { withRuntime } from "../../runtime/index.js";
import { centred, dot } from "../probes/rows.js";
import { readPair } from "./cka.js";

export interface ProcrustesOptions extends ProductOptions {
  /** Bring both sides to norm 1 first (after centring); on unless given. */
  readonly normalize?: boolean;
  /** Also scale x to fit y best; off unless given. */
  readonly scaling?: boolean;
}

export interface Procrustes {
  /**
   * min |s x R - y| over rotations (reflections included) and, with `scaling`, scales: the Frobenius norm that is left.
   */
  readonly distance: number;
  /**
   * The angle between the rotated x and y, arccos of |x'y|_* / (|x| |y|): a metric, from 0 to pi / 2, free of scale.
   */
  readonly angle: number;
  /** R [features of x, features of y]; its columns (or rows, where fewer) are orthonormal. */
  readonly rotation: Matrix;
  /** What takes the features of x as given to those of y: prediction = scale (x - meanX) R + meanY. */
  readonly scale: number;
  readonly meanX: Float64Array;
  readonly meanY: Float64Array;
}

/**
 * The best rotation of `x` [examples, features] onto `y` of the same examples. Both are centred; of unequal widths, the
 * narrower is as if filled up with zeros, so that where x is the wider one what R drops of it counts in the distance.
 *
 * Throws for unequal numbers of examples, fewer than 2, and a side whose examples are all equal.
 *
 * @example const { distance, rotation } = await procrustes(layer, otherLayer);
 */
export async function procrustes(x: Tensor, y: Tensor, options: ProcrustesOptions = {}): Promise<Procrustes> {
  const { normalize = true, scaling = false } = options;
  const [a, b] = readPair(x, y, 2);
  const [first, second] = [procrustesSide(a, "x"), procrustesSide(b, "y")];
  return withRuntime(options.runtime, async (runtime) => {
    const cross = await product(first.unit, second.unit, { runtime, transpose: { left: true } });
    const { u, values, v } = await svd(cross, { runtime });
    const cosine = Math.min(
      1,
      values.reduce((sum, value) => sum + value, 0),
    );
    const [sizeX, sizeY] = normalize ? [1, 1] : [first.norm, second.norm];
    const factor = scaling ? (sizeY / sizeX) * cosine : 1; // the scale of x in the units that distance is measured in
    const left = (factor * sizeX) ** 2 + sizeY ** 2 - 2 * factor * sizeX * sizeY * cosine;
    return {
      distance: Math.sqrt(Math.max(0, left)),
      angle: Math.acos(cosine),
      rotation: await product(u, v, { runtime, transpose: { right: true } }),
      scale: (factor * sizeX * second.norm) / (first.norm * sizeY),
      meanX: first.mean,
      meanY: second.mean,
    };
  });
}

/** Centred examples at norm 1, with what was taken off. */
export interface ProcrustesSide {
  readonly unit: Matrix;
  readonly norm: number;
  readonly mean: Float64Array;
}

/** One side of the comparison, which can meet many others. */
export function procrustesSide(rows: Matrix, name: string): ProcrustesSide {
  const centre = centred(rows);
  const norm = Math.sqrt(dot(centre.data, centre.data));
  if (norm === 0) throw usageError(`every example of ${name} has the same features: nothing to rotate`);
  return { unit: { ...centre, data: centre.data.map((value) => value / norm) }, norm, mean: columnMoments(rows).mean };
}

/** The cosine of the Procrustes angle, |x'y|_*: 1 where a rotation makes the two equal. */
export async function procrustesCosine(x: ProcrustesSide, y: ProcrustesSide, runtime: Runtime): Promise<number> {
  const cross = await product(x.unit, y.unit, { runtime, transpose: { left: true } });
  const { values } = await svd(cross, { runtime });
  return Math.min(
    1,
    values.reduce((sum, value) => sum + value, 0),
  );
}

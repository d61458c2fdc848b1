/**
 * What keeps pictures of gradient ascent from being noise, one number a row each: terms that are subtracted from what is
 * raised. Means over pixels, so that a weight means the same at every size.
 */
import {
  add,
  type Dim,
  div,
  matmul,
  mul,
  multiplyDims,
  pad,
  reduceL2,
  reduceMean,
  reduceSum,
  reshape,
  slice,
  sqrt,
  stopGradient,
  sub,
  type Value,
} from "../graph/index.js";

export interface Regularisers {
  /** On the mean square distance of numbers from the middle of their range (Simonyan et al. 2013, equation 1). */
  readonly l2?: number;
  /** On the mean length of the gradient from pixel to pixel (Mahendran & Vedaldi 2015, equation 4 with beta = 1). */
  readonly totalVariation?: number;
  /** On half the mean square difference from the picture blurred a little (after Yosinski et al. 2015). */
  readonly blur?: number;
}

/** [batch] of pictures [batch, channels, height, width] whose range has this middle. */
type Penalty = (image: Value, middle: number) => Value;

const meanOver = (x: Value) => reduceMean(x, [1, 2, 3]);

export const penalties: Readonly<Record<keyof Regularisers, Penalty>> = {
  l2(image, middle) {
    const away = sub(image, middle);
    return meanOver(mul(away, away));
  },
  totalVariation(image) {
    const squares = [2, 3].map((axis) => {
      const step = sub(following(image, axis), image);
      return mul(step, step);
    }) as [Value, Value];
    return meanOver(sqrt(add(add(...squares), 1e-6))); // the root of 0 has no slope
  },
  blur(image) {
    const rough = sub(image, stopGradient(blurred(image)));
    return mul(meanOver(mul(rough, rough)), 0.5);
  },
};

/** What each place is followed by along an axis; the last place by itself. */
const following = (x: Value, axis: number): Value => pad(slice(x, axis, 1), axis, 0, 1, { mode: "edge" });

/** Weights 1/4, 1/2, 1/4 along both axes. */
function blurred(image: Value): Value {
  return [2, 3].reduce((x, axis) => {
    const before = pad(slice(x, axis, 0, (x.shape[axis] as number) - 1), axis, 1, 0, { mode: "edge" });
    return add(mul(add(before, following(x, axis)), 0.25), mul(x, 0.5));
  }, image);
}

/**
 * How alike each row's features are to those of the rows that `pairs` [batch, batch] marks, as the weighted sum of cosines
 * between matrices of products of channels (Olah et al. 2017, on diversity). [batch]
 *
 * @param features [batch, channels, height, width]
 */
export function likeness(features: Value, pairs: Value): Value {
  const [batch, channels, ...plane] = features.shape as readonly [Dim, Dim, ...Dim[]];
  const flat = reshape(features, [batch, channels, multiplyDims(...plane)]);
  const gram = reshape(matmul(flat, flat, { transposeB: true }), [batch, multiplyDims(channels, channels)]);
  const unit = div(gram, add(reduceL2(gram, 1, { keepDims: true }), 1e-8));
  return reduceSum(mul(matmul(unit, unit, { transposeB: true }), pairs), 1);
}

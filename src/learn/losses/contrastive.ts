/** Losses of pairs and groups of embeddings, [examples, width]. */

import { usageError } from "../../errors.js";
import {
  add,
  cast,
  concat,
  div,
  equal,
  eye,
  formatShape,
  logSoftmax,
  matmul,
  max,
  mul,
  neg,
  range,
  reduceMean,
  reduceSum,
  relu,
  sqrt,
  sub,
  transpose,
  unsqueeze,
  type Value,
  where,
} from "../../graph/index.js";
import { crossEntropy } from "./classification.js";
import { requireSameShape } from "./shared.js";

/** Rows of length 1. The bound lies under the root, which has no slope at 0: a row of zeros gets finite gradients. */
const unit = (x: Value) => div(x, sqrt(max(reduceSum(mul(x, x), [1], { keepDims: true }), 1e-24)));
const similarities = (a: Value, b: Value) => matmul(a, transpose(b, [1, 0]));

/**
 * InfoNCE (van den Oord et al. 2018) of two views a and b, [examples, width]: the i-th of each belong together, and all
 * others of `b` are what they are told from; cosine similarities over `temperature`. `symmetric` averages with the roles
 * exchanged (as CLIP does).
 */
export function infoNce(
  a: Value,
  b: Value,
  { temperature = 0.1, symmetric = false }: { readonly temperature?: number; readonly symmetric?: boolean } = {},
): Value {
  requireSameShape("infoNce", a, b);
  const scores = div(similarities(unit(a), unit(b)), temperature);
  const labels = range(a.shape[0] as number);
  const forward = crossEntropy(scores, labels);
  if (!symmetric) return forward;
  return div(add(forward, crossEntropy(transpose(scores, [1, 0]), labels)), 2);
}

/**
 * Supervised contrastive loss (Khosla et al. 2020, equation 2) of embeddings [examples, width] with labels int64
 * [examples]: every example against all others of its label. Examples alone with their label count nothing.
 */
export function supervisedContrastive(
  embeddings: Value,
  labels: Value,
  { temperature = 0.1 }: { readonly temperature?: number } = {},
): Value {
  const count = embeddings.shape[0] as number;
  if (labels.shape.length !== 1 || labels.shape[0] !== count)
    throw usageError(
      `supervisedContrastive: embeddings ${formatShape(embeddings.shape)} need labels [${count}], not ${formatShape(labels.shape)}`,
    );
  const x = unit(embeddings);
  const self = eye(count);
  const scores = add(div(similarities(x, x), temperature), mul(self, -1e9));
  const same = cast(equal(unsqueeze(labels, 0), unsqueeze(labels, 1)), "float32");
  const positives = sub(same, self);
  const counts = reduceSum(positives, [1]);
  const each = div(reduceSum(mul(logSoftmax(scores), positives), [1]), max(counts, 1));
  const counted = cast(equal(counts, 0), "float32");
  return neg(div(reduceSum(each, [0]), max(sub(count, reduceSum(counted, [0])), 1)));
}

/**
 * NT-Xent (Chen et al. 2020, SimCLR) of two views [examples, width]: every one of the 2 n embeddings against all others,
 * its other view the only match.
 */
export function ntXent(a: Value, b: Value, options: { readonly temperature?: number } = {}): Value {
  requireSameShape("ntXent", a, b);
  const examples = range(a.shape[0] as number);
  return supervisedContrastive(concat([a, b], 0), concat([examples, examples], 0), options);
}

/**
 * Barlow Twins (Zbontar et al. 2021) of two views [examples, width]: their cross-correlation is to be the identity;
 * off-diagonal squares weigh `redundancy`.
 */
export function barlowTwins(a: Value, b: Value, { redundancy = 0.005 }: { readonly redundancy?: number } = {}): Value {
  requireSameShape("barlowTwins", a, b);
  const [count, width] = a.shape as readonly [number, number];
  const standard = (x: Value) => {
    const centred = sub(x, reduceMean(x, [0], { keepDims: true }));
    return div(centred, sqrt(add(reduceMean(mul(centred, centred), [0], { keepDims: true }), 1e-5)));
  };
  const correlation = div(matmul(transpose(standard(a), [1, 0]), standard(b)), count);
  const difference = sub(correlation, eye(width));
  const squares = mul(difference, difference);
  const weights = add(mul(eye(width), 1 - redundancy), redundancy);
  return reduceSum(mul(squares, weights), [0, 1]);
}

/** Triplet margin loss: max(0, |a - p| - |a - n| + margin), averaged over rows. */
export function tripletLoss(
  anchor: Value,
  positive: Value,
  negative: Value,
  { margin = 1 }: { readonly margin?: number } = {},
): Value {
  const distance = (x: Value) => {
    const difference = add(sub(anchor, x), 1e-6);
    return sqrt(reduceSum(mul(difference, difference), [1]));
  };
  return reduceMean(relu(add(sub(distance(positive), distance(negative)), margin)), [0]);
}

/** Cosine loss of pairs: 1 - cos where the target is 1, max(0, cos - margin) where it is -1; targets float [examples]. */
export function cosineLoss(
  a: Value,
  b: Value,
  targets: Value,
  { margin = 0 }: { readonly margin?: number } = {},
): Value {
  requireSameShape("cosineLoss", a, b);
  const cosine = reduceSum(mul(unit(a), unit(b)), [1]);
  return reduceMean(where(equal(targets, 1), sub(1, cosine), relu(sub(cosine, margin))), [0]);
}

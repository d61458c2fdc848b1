/**
 * Grad-CAM (Selvaraju et al. 2017, equations 1 and 2): the channels A_k of a convolution, each weighted by the mean of the
 * score's gradient over its places, added up, and only what speaks for the score kept: relu(sum_k a_k A_k). Grad-CAM++
 * (Chattopadhyay et al. 2018, equations 10, 11 and 19) weights places by how much each alone would account for.
 */
import { usageError } from "../errors.js";
import {
  add,
  div,
  equal,
  formatShape,
  mul,
  reduceMax,
  reduceMean,
  reduceSum,
  relu,
  reshape,
  resize,
  type Value,
  where,
} from "../graph/index.js";
import type { Network } from "../model/index.js";
import type { Tensor } from "../runtime/index.js";
import { type GradientKind, rulesOf } from "./gradients.js";
import { compileTargets, type Feeds, gradientAt, planeOf, type TargetOptions } from "./targets.js";

export interface GradCamOptions extends TargetOptions {
  /** The site whose places are weighed, [batch, channels, height, width]: as a rule the last convolution's relu. */
  readonly at: string;
  /** How channels are weighted; `gradCam` unless given. */
  readonly weighting?: "gradCam" | "gradCam++";
  /** Through the layers above; `plain` unless given. */
  readonly gradients?: GradientKind;
  /** Height and width of the maps; the image's unless given. */
  readonly size?: readonly [number, number];
}

export interface GradCam {
  /** [batch, targets, height, width], from 0 to 1, the largest of each map: values as a heatmap figure takes them. */
  readonly maps: Tensor;
  /** The largest value of each map before it was divided by it, [batch, targets]; 0 where nothing speaks for the target. */
  readonly peaks: Tensor;
  /** What was explained, [batch, targets]. */
  readonly values: Tensor;
}

/**
 * Where in an image a network finds a class: a map for every image and target, resized (linearly) to the image.
 *
 * @param feeds the network's inputs, the image [batch, channels, height, width] among them
 * @param options.of classes, or functions of sites: `({ site }) => reduceMax(site("logits"), 1)` is what was predicted
 * @throws where `at` is no site of planes, or the target does not depend on it
 */
export async function gradCam(
  network: Network,
  feeds: Feeds,
  { at, weighting = "gradCam", gradients = "plain", size, ...options }: GradCamOptions,
): Promise<GradCam> {
  const program = compileTargets(network, options, (call, value, image) => {
    const activations = call.site(at);
    planeOf(activations, `the site "${at}"`);
    const gradient = gradientAt(value, activations, `"${at}"`, rulesOf(gradients));
    const weights = weightings[weighting](activations, gradient);
    const coarse = relu(reduceSum(mul(weights, activations), 1));
    return { values: value, ...normalised(resize(coarse, { sizes: size ?? sizeOf(image), mode: "linear" })) };
  });
  const { maps, peaks, values } = await program(feeds);
  return { maps: maps as Tensor, peaks: peaks as Tensor, values: values as Tensor };
}

function sizeOf(image: Value): [number, number] {
  const [, , height, width] = image.shape;
  if (typeof height === "number" && typeof width === "number") return [height, width];
  throw usageError(`the image is ${formatShape(image.shape)}: give the maps' height and width as \`size\``);
}

/** Weights of channels [batch, channels, 1, 1] from activations and gradients. */
const weightings: Readonly<Record<"gradCam" | "gradCam++", (activations: Value, gradient: Value) => Value>> = {
  gradCam: (_, gradient) => reduceMean(gradient, [2, 3], { keepDims: true }),
  "gradCam++"(activations, gradient) {
    const square = mul(gradient, gradient);
    const total = reduceSum(activations, [2, 3], { keepDims: true });
    const denominator = add(mul(square, 2), mul(total, mul(square, gradient)));
    const none = equal(denominator, 0);
    const share = where(none, 0, div(square, where(none, 1, denominator)));
    return reduceSum(mul(share, relu(gradient)), [2, 3], { keepDims: true });
  },
};

function normalised(map: Value): { maps: Value; peaks: Value } {
  const peak = reduceMax(map, [1, 2], { keepDims: true });
  return { maps: div(map, where(equal(peak, 0), 1, peak)), peaks: reshape(peak, map.shape.slice(0, 1)) };
}

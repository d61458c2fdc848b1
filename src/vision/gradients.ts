/**
 * Gradients at the picture itself, for people to look at: plain ones (Simonyan et al. 2013, "Deep inside convolutional
 * networks"), and guided ones, which let through a relu only what is positive both ways (Springenberg et al. 2014,
 * "Striving for simplicity", section 3.4).
 */
import { type GradientRule, greater, relu, type Value, where } from "../graph/index.js";
import type { Network } from "../model/index.js";
import type { Tensor } from "../runtime/index.js";
import { compileTargets, type Feeds, gradientAt, type TargetOptions } from "./targets.js";

/** Which gradients flow back through a relu: all where it is open, or of those only the positive ones. */
export type GradientKind = "plain" | "guided";

/** Springenberg et al. 2014: where the relu is open and the gradient positive. Not linear, so for explanations alone. */
const guidedRelu: GradientRule = (node, [g]) =>
  g === undefined ? [undefined] : [where(greater(node.outputs[0] as Value, 0), relu(g), 0)];

/** The rules that replace those of the table. */
export const rulesOf = (kind: GradientKind): ReadonlyMap<string, GradientRule> =>
  new Map(kind === "guided" ? [["relu", guidedRelu]] : []);

export interface ImageGradientOptions extends TargetOptions {
  /** `plain` unless given. */
  readonly gradients?: GradientKind;
}

export interface ImageGradients {
  /** [batch, targets, channels, height, width] */
  readonly gradients: Tensor;
  /** What was differentiated, [batch, targets]. */
  readonly values: Tensor;
}

/**
 * Gradients of classes' scores (or of any number a row) at the image. Guided ones look sharper and explain less: they
 * hardly change when the upper layers' weights are made random (Adebayo et al. 2018, "Sanity checks for saliency maps").
 * Times the map of `gradCam` they are what Selvaraju et al. 2017 call guided Grad-CAM.
 *
 * @param feeds the network's inputs, the image [batch, channels, height, width] among them
 */
export async function imageGradients(
  network: Network,
  feeds: Feeds,
  { gradients: kind = "plain", ...options }: ImageGradientOptions,
): Promise<ImageGradients> {
  const program = compileTargets(network, options, (_, value, image) => ({
    values: value,
    gradients: gradientAt(value, image, "the image", rulesOf(kind)),
  }));
  const { gradients, values } = await program(feeds);
  return { gradients: gradients as Tensor, values: values as Tensor };
}

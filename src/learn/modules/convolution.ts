/** Convolutions over one to three axes, and their transposes. Channels come second, as in ONNX and PyTorch. */
import { usageError } from "../../errors.js";
import {
  type ConvolutionOptions,
  type ConvolutionTransposeOptions,
  convolution,
  convolutionTranspose,
  divideDims,
  formatShape,
  type Value,
} from "../../graph/index.js";
import { elementCount, type Random, type Tensor, zeros } from "../../runtime/index.js";
import { type Initialiser, initialisers } from "../initialisers.js";
import type { Traced } from "../parameters.js";

/** weight [outputs, inputs / groups, ...kernel] (transposed: [inputs, outputs / groups, ...kernel]), bias [outputs]. */
export type ConvolutionParameters = { readonly weight: Tensor<"float32">; readonly bias?: Tensor<"float32"> };

export interface ConvolutionSettings {
  /** Channels. */
  readonly inputs: number;
  readonly outputs: number;
  /** Taps along each spatial axis. */
  readonly kernel: readonly number[];
  /** Channels fall into so many groups, each convolved by itself. 1 unless given. */
  readonly groups?: number;
  /** On unless given. */
  readonly bias?: boolean;
  /** Of the weight; variance 2 / (taps of one output), normal, unless given. The bias starts at 0. */
  readonly initialise?: Initialiser;
}

const divided = (what: string, channels: number, groups: number): number => {
  if (Number.isInteger(groups) && groups > 0 && channels % groups === 0) return channels / groups;
  throw usageError(`a convolution of ${channels} ${what} can't have ${groups} groups: they must divide the channels`);
};

const withBias = (weight: Tensor<"float32">, outputs: number, bias: boolean): ConvolutionParameters =>
  bias ? { weight, bias: zeros("float32", [outputs]) } : { weight };

/** Fresh parameters of `convolve`. Throws where the groups don't divide the channels. */
export function convolutionParameters(random: Random, settings: ConvolutionSettings): ConvolutionParameters {
  const { inputs, outputs, kernel, groups = 1, bias = true, initialise = initialisers.heNormal() } = settings;
  divided("outputs", outputs, groups);
  return withBias(initialise(random, [outputs, divided("inputs", inputs, groups), ...kernel]), outputs, bias);
}

/** Fresh parameters of `convolveTranspose`. Throws where the groups don't divide the channels. */
export function convolutionTransposeParameters(random: Random, settings: ConvolutionSettings): ConvolutionParameters {
  const { inputs, outputs, kernel, groups = 1, bias = true, initialise = initialisers.heNormal() } = settings;
  const own = divided("outputs", outputs, groups);
  const taps = elementCount(kernel);
  const fans = { inputs: divided("inputs", inputs, groups) * taps, outputs: own * taps };
  return withBias(initialise(random, [inputs, own, ...kernel], fans), outputs, bias);
}

/**
 * Convolution of x [batch, inputs, ...places]: [batch, outputs, ...]. The groups follow from the shapes; strides,
 * dilations and pads are the options of `convolution`.
 */
export function convolve(
  { weight, bias }: Traced<ConvolutionParameters>,
  x: Value,
  options: Omit<ConvolutionOptions, "bias" | "groups"> = {},
): Value {
  const [channels = 0, own = 0] = [x.shape[1], weight.shape[1]];
  const groups = divideDims(channels, own);
  if (typeof groups !== "number")
    throw usageError(
      `a kernel ${formatShape(weight.shape)} does not fit ${channels} channels: axis 1 must divide them`,
    );
  return convolution(x, weight, { ...options, groups, ...(bias === undefined ? {} : { bias }) });
}

/** The transpose of a convolution on x [batch, inputs, ...places]; options are those of `convolutionTranspose`. */
export function convolveTranspose(
  { weight, bias }: Traced<ConvolutionParameters>,
  x: Value,
  options: Omit<ConvolutionTransposeOptions, "bias"> = {},
): Value {
  return convolutionTranspose(x, weight, { ...options, ...(bias === undefined ? {} : { bias }) });
}

/**
 * Convolutions as one trilinear form: the sum over products of x (input), w (kernel) and y (output) at which a window has
 * a place, a tap and a position. Convolution, its transpose and the gradient of its kernel are the form with y, x or w
 * left open, so that the rule of each is the other two.
 */
import { type Dim, divideDims, formatShape, multiplyDims, sameShape } from "../dims.js";
import { overBatch } from "../gradient/batch.js";
import type { Node, Value, ValueType } from "../graph.js";
import { type Dtype, elementCount } from "../tensor.js";
import { allBatched } from "./batching.js";
import { add } from "./elementwise.js";
import { reshape, transpose } from "./movement.js";
import {
  applyOne,
  type BatchRule,
  type Emitter,
  emitAs,
  isFloat,
  type Operation,
  type ReferenceTensor,
} from "./operation.js";
import { reduceSum } from "./reduction.js";
import {
  extentOf,
  named,
  numbersOf,
  overExamples,
  perAxis,
  positionsOf,
  productsOf,
  restsOf,
  sizesOver,
  spatialOf,
  type WindowAttributes,
  type WindowOptions,
  windowOf,
} from "./window.js";

type ConvolutionAttributes = WindowAttributes & { readonly groups: number };
type TransposeAttributes = ConvolutionAttributes & { readonly outputPadding: readonly number[] };
type WeightAttributes = ConvolutionAttributes & { readonly kernel: readonly number[] };

type Sizes = readonly number[];

/** The sum over all products of the form; `visit` gets offsets into x [N, C, ...], w [O, C / groups, ...], y [N, O, ...]. */
function eachProduct(
  [x, w, y]: readonly [Sizes, Sizes, Sizes],
  attributes: ConvolutionAttributes,
  visit: (x: number, w: number, y: number) => void,
): void {
  const [batch, outputs] = y as readonly [number, number];
  const channels = w[1] as number;
  const products = productsOf(x.slice(2), w.slice(2), attributes);
  const [places, taps, positions] = [x, w, y].map((shape) => elementCount(shape.slice(2))) as [number, number, number];
  for (let n = 0; n < batch; n++) {
    for (let o = 0; o < outputs; o++) {
      const first = Math.floor((o * attributes.groups) / outputs) * channels;
      for (let c = 0; c < channels; c++) {
        const xAt = (n * (x[1] as number) + first + c) * places;
        const wAt = (o * channels + c) * taps;
        const yAt = (n * outputs + o) * positions;
        for (const { place, tap, position } of products) visit(xAt + place, wAt + tap, yAt + position);
      }
    }
  }
}

/** What the reference of the form fills: one of x, w, y, from the other two (and a bias of the channels of x or y). */
function fill(
  dtype: Dtype,
  shape: Sizes,
  bias: ReferenceTensor | undefined,
  sum: (data: Float64Array) => void,
): ReferenceTensor[] {
  const inner = elementCount(shape.slice(2));
  const data = Float64Array.from(
    { length: elementCount(shape) },
    (_, i) => bias?.data[Math.floor(i / inner) % (shape[1] as number)] ?? 0,
  );
  sum(data);
  return [{ dtype, shape, data }];
}

function requireFloats(inputs: readonly ValueType[]): Dtype {
  const [{ dtype }] = inputs as readonly [ValueType];
  if (!isFloat(dtype) || inputs.some((value) => value.dtype !== dtype))
    throw new Error("inputs must have one floating-point type");
  return dtype;
}

function requireBias(bias: ValueType | undefined, channels: Dim): void {
  if (bias === undefined || sameShape(bias.shape, [channels])) return;
  throw new Error(`the bias must be [${channels}], not ${formatShape(bias.shape)}`);
}

/** The first dimensions of a kernel, its taps, and that they fit `channels`: what it reads (axis 1) or makes (axis 0). */
function kernelOf(w: ValueType, rank: number, groups: number) {
  if (w.shape.length !== rank) throw new Error(`the kernel ${formatShape(w.shape)} must have ${rank} dimensions`);
  if (!Number.isInteger(groups) || groups < 1)
    throw new Error(`groups must be a whole number of at least 1, not ${groups}`);
  const [leading, inGroup] = w.shape as readonly [Dim, Dim];
  if (divideDims(leading, groups) === undefined)
    throw new Error(`${leading} channels do not divide into ${groups} groups`);
  return { leading, inGroup, kernel: numbersOf("the size of a kernel", w.shape.slice(2)) };
}

function requireChannels(role: string, found: Dim, wanted: Dim): void {
  if (found !== wanted) throw new Error(`the kernel is for ${wanted} channels of ${role}, not ${found}`);
}

const channelSum = (g: Value) => reduceSum(g, [0, ...spatialOf(g).map((_, i) => i + 2)]);

const onnxWindow = ({ strides, dilations, pads, groups }: ConvolutionAttributes) => ({
  strides,
  dilations,
  pads,
  group: groups,
});

/** The attributes of the form alone. */
const formOf = ({ strides, dilations, pads, groups }: ConvolutionAttributes): ConvolutionAttributes => ({
  strides,
  dilations,
  pads,
  groups,
});

const convolutionOperation: Operation<ConvolutionAttributes> = {
  name: "convolution",
  infer(inputs, attributes) {
    const [x, w, bias] = inputs as readonly [ValueType, ValueType, ValueType?];
    const spatial = spatialOf(x);
    const { leading, inGroup, kernel } = kernelOf(w, x.shape.length, attributes.groups);
    requireChannels("input", x.shape[1] as Dim, multiplyDims(inGroup, attributes.groups));
    requireBias(bias, leading);
    return [
      {
        dtype: requireFloats(inputs),
        shape: [x.shape[0] as Dim, leading, ...positionsOf(spatial, kernel, attributes)],
      },
    ];
  },
  emit(node, attributes, emitter) {
    const [y] = node.outputs as readonly [Value];
    if (!emitter.returns(y)) return emitAs("Conv", node, emitter, onnxWindow(attributes));
    // Two convolutions that are added are fused into one node by the runtime (1.30), even where the first is an output of
    // the graph, which then has no source and crashes the process. A reshape to the same sizes keeps them apart.
    const inputs = node.inputs.map((value) => emitter.name(value));
    const [apart] = emitter.node("Conv", inputs, { attributes: onnxWindow(attributes) }) as [string];
    emitter.node("Reshape", [apart, emitter.int64(y.shape.map(() => 0))], { outputs: [emitter.name(y)] });
  },
  gradient(node, [g]) {
    if (g === undefined) return node.inputs.map(() => undefined);
    const [x, w, bias] = node.inputs as readonly [Value, Value, Value?];
    const attributes = formOf(node.attributes as ConvolutionAttributes);
    const gradients = [toInput(g, w, x, attributes), toKernel(x, g, w, attributes)];
    return bias === undefined ? gradients : [...gradients, channelSum(g)];
  },
  batch: batchedForm(() => convolutionOperation, [1, 0], 1),
  reference(inputs, attributes) {
    const [x, w, bias] = inputs as readonly [ReferenceTensor, ReferenceTensor, ReferenceTensor?];
    const positions = positionsOf(x.shape.slice(2), w.shape.slice(2), attributes) as number[];
    const shape = [x.shape[0] as number, w.shape[0] as number, ...positions];
    return fill(x.dtype, shape, bias, (data) => {
      eachProduct([x.shape, w.shape, shape], attributes, (i, k, o) => {
        data[o] = (data[o] as number) + (x.data[i] as number) * (w.data[k] as number);
      });
    });
  },
};

const transposeOperation: Operation<TransposeAttributes> = {
  name: "convolutionTranspose",
  infer(inputs, attributes) {
    const [y, w, bias] = inputs as readonly [ValueType, ValueType, ValueType?];
    const positions = spatialOf(y);
    const { leading, inGroup, kernel } = kernelOf(w, y.shape.length, attributes.groups);
    requireChannels("input", y.shape[1] as Dim, leading);
    const channels = multiplyDims(inGroup, attributes.groups);
    requireBias(bias, channels);
    const rests = attributes.outputPadding;
    if (rests.some((rest, i) => rest >= (attributes.strides[i] as number)))
      throw new Error(`outputPadding ${rests.join(", ")} must be smaller than the strides`);
    const sizes = sizesOver(positions, kernel, attributes, rests);
    return [{ dtype: requireFloats(inputs), shape: [y.shape[0] as Dim, channels, ...sizes] }];
  },
  emit: (node, attributes, emitter) =>
    emitAs("ConvTranspose", node, emitter, { ...onnxWindow(attributes), output_padding: attributes.outputPadding }),
  gradient(node, [g]) {
    if (g === undefined) return node.inputs.map(() => undefined);
    const [y, w, bias] = node.inputs as readonly [Value, Value, Value?];
    const attributes = formOf(node.attributes as TransposeAttributes);
    const gradients = [applyOne(convolutionOperation, [g, w], attributes), toKernel(g, y, w, attributes)];
    return bias === undefined ? gradients : [...gradients, channelSum(g)];
  },
  batch: batchedForm(() => transposeOperation, [1, 0], 1),
  reference(inputs, attributes) {
    const [y, w, bias] = inputs as readonly [ReferenceTensor, ReferenceTensor, ReferenceTensor?];
    const channels = (w.shape[1] as number) * attributes.groups;
    const sizes = sizesOver(y.shape.slice(2), w.shape.slice(2), attributes, attributes.outputPadding) as number[];
    const shape = [y.shape[0] as number, channels, ...sizes];
    return fill(y.dtype, shape, bias, (data) => {
      eachProduct([shape, w.shape, y.shape], attributes, (i, k, o) => {
        data[i] = (data[i] as number) + (y.data[o] as number) * (w.data[k] as number);
      });
    });
  },
};

const weightOperation: Operation<WeightAttributes> = {
  name: "convolutionWeight",
  infer(inputs, attributes) {
    const [x, y] = inputs as readonly [ValueType, ValueType];
    const { groups, kernel } = attributes;
    const spatial = spatialOf(x);
    const [batch] = x.shape as readonly [Dim];
    const [channels] = numbersOf("the number of channels", x.shape.slice(1, 2)) as [number];
    const inGroup = divideDims(channels, groups);
    if (inGroup === undefined || divideDims(y.shape[1] as Dim, groups) === undefined)
      throw new Error(`${channels} and ${y.shape[1]} channels do not divide into ${groups} groups`);
    const wanted = [batch, y.shape[1] as Dim, ...positionsOf(spatial, kernel, attributes)];
    if (!sameShape(y.shape, wanted))
      throw new Error(`the outputs of such a convolution are ${formatShape(wanted)}, not ${formatShape(y.shape)}`);
    return [{ dtype: requireFloats(inputs), shape: [y.shape[1] as Dim, inGroup, ...kernel] }];
  },
  emit: emitWeight,
  gradient(node, [v]) {
    if (v === undefined) return [undefined, undefined];
    const [x, y] = node.inputs as readonly [Value, Value];
    const attributes = formOf(node.attributes as WeightAttributes);
    return [toInput(y, v, x, attributes), applyOne(convolutionOperation, [x, v], attributes)];
  },
  batch: batchedForm(() => weightOperation, [1, 1], 0),
  reference(inputs, attributes) {
    const [x, y] = inputs as readonly [ReferenceTensor, ReferenceTensor];
    const shape = [y.shape[1] as number, (x.shape[1] as number) / attributes.groups, ...attributes.kernel];
    return fill(x.dtype, shape, undefined, (data) => {
      eachProduct([x.shape, shape, y.shape], attributes, (i, k, o) => {
        data[k] = (data[k] as number) + (x.data[i] as number) * (y.data[o] as number);
      });
    });
  },
};

/** The gradient of the input `x` of a convolution from that of its output. */
function toInput(g: Value, w: Value, x: Value, attributes: ConvolutionAttributes): Value {
  const outputPadding = restsOf(spatialOf(x), w.shape.slice(2) as number[], attributes);
  return applyOne(transposeOperation, [g, w], { ...attributes, outputPadding });
}

/** The gradient of the kernel `w` of a convolution from that of its output. */
function toKernel(x: Value, g: Value, w: Value, attributes: ConvolutionAttributes): Value {
  return applyOne(weightOperation, [x, g], { ...attributes, kernel: w.shape.slice(2) as number[] });
}

/**
 * Written as one convolution whose kernel is the gradient of the output and whose channels are the batch, as usual; but
 * with the input's channels folded into its last axis, where the kernel steps over whole pixels. Tap by tap of each channel
 * apart, the runtime would multiply matrices of 9 columns (for 3 x 3 taps) instead of 9 times the channels: 3 times slower.
 */
function emitWeight(node: Node, own: WeightAttributes, emitter: Emitter): void {
  const [x, y] = node.inputs as readonly [Value, Value];
  const { strides, dilations, pads, groups, kernel } = own;
  const last = kernel.length - 1;
  const channels = (x.shape[1] as number) / groups;
  const widened = (values: readonly number[]) => values.map((n, i) => (i % kernel.length === last ? n * channels : n));
  const permutation = y.shape.map((_, i) => (i < 2 ? 1 - i : i));
  const [taps] = emitter.node("Transpose", [emitter.name(y)], { attributes: { perm: permutation } }) as [string];
  const attributes = {
    strides: dilations.map((n, i) => (i === last ? 1 : n)),
    dilations: widened(strides),
    pads: widened(pads),
    group: groups,
  };
  const [sums] = emitter.node("Conv", [emitFolded(x, groups, emitter), taps], { attributes }) as [string];
  emitCut(sums, node, own, emitter);
}

/** `x` [N, groups * c, ...sizes] as one signal [1, groups * N, ..., size * c]. */
function emitFolded(x: Value, groups: number, emitter: Emitter): string {
  const sizes = spatialOf(x);
  const channels = (x.shape[1] as number) / groups;
  const reshaped = (name: string, shape: readonly Dim[]) =>
    emitter.node("Reshape", [name, emitter.dims(shape)])[0] as string;
  const transposed = (name: string, perm: readonly number[]) =>
    emitter.node("Transpose", [name], { attributes: { perm } })[0] as string;
  const channelsLast =
    groups === 1 // by itself, since the runtime is slow to move several axes at once
      ? transposed(emitter.name(x), [0, ...sizes.map((_, i) => i + 2), 1])
      : transposed(reshaped(emitter.name(x), [x.shape[0] as Dim, groups, channels, ...sizes]), [
          ...[1, 0],
          ...sizes.map((_, i) => i + 3),
          2,
        ]);
  const folded = sizes.map((size, i) => (i === sizes.length - 1 ? multiplyDims(size, channels) : size));
  return reshaped(channelsLast, [1, multiplyDims(groups, x.shape[0] as Dim), ...folded]);
}

/**
 * The kernel's gradient out of the sums [1, O, ..., taps * c]: places that no window reaches made sums beyond the kernel,
 * and a dilated kernel has sums between its taps on the last axis.
 */
function emitCut(sums: string, node: Node, own: WeightAttributes, emitter: Emitter): void {
  const [made] = node.outputs as readonly [Value];
  const { kernel, dilations } = own;
  const last = kernel.length - 1;
  const rests = restsOf(spatialOf(node.inputs[0] as Value), kernel, own);
  const steps = dilations.map((n, i) => (i === last ? n : 1));
  const sizes = kernel.map((n, i) => {
    const [dilation, rest] = [dilations[i] as number, rests[i] as number];
    return i === last ? extentOf(n, dilation) + rest : n + Math.floor(rest / dilation);
  });
  const [outputs, channels] = made.shape as readonly [Dim, Dim];
  const [apart] = emitter.node("Reshape", [sums, emitter.dims([outputs, ...sizes, channels])]) as [string];
  const axes = kernel.map((_, i) => i + 1);
  const exact = sizes.every((size, i) => size === kernel[i]);
  const ends = kernel.map((n, i) => extentOf(n, steps[i] as number));
  const bounds = [kernel.map(() => 0), ends, axes, steps].map((values) => emitter.int64(values));
  const [cut] = exact ? [apart] : emitter.node("Slice", [apart, ...bounds]);
  const perm = [0, kernel.length + 1, ...axes];
  emitter.node("Transpose", [cut as string], { attributes: { perm }, outputs: [emitter.name(made)] });
}

/**
 * The batch rule of an operation of the form. A first input alone joins its examples; else every entry of the batch gets
 * groups of its own, `axes` being the channels of the two inputs and `output` those of the result. (The runtime has no
 * batched kernels.)
 */
function batchedForm<A extends ConvolutionAttributes>(
  own: () => Operation<A>,
  axes: readonly [number, number],
  output: number,
): BatchRule {
  return (inputs, batched, node) => {
    const operation = own();
    const attributes = node.attributes as A;
    const [a, b, bias] = inputs as readonly [Value, Value, Value?];
    if (output === 1 && !batched[1] && !batched[2])
      return [overExamples(a, (joined) => applyOne(operation, [joined, ...inputs.slice(1)], attributes))];
    const [count] = (inputs[batched.indexOf(true)] as Value).shape;
    if (typeof count !== "number") return overBatch(inputs, batched, node); // groups are a number
    const form =
      batched[0] || batched[1]
        ? grouped(operation, allBatched([a, b], batched), axes, output, attributes)
        : applyOne(operation, [a, b], attributes);
    if (bias === undefined) return [form];
    const ones = spatialOf(node.inputs[0] as Value).map(() => 1);
    const channels = batched[2] ? [bias.shape[0] as Dim, 1, bias.shape[1] as Dim] : [bias.shape[0] as Dim];
    return [add(form, reshape(bias, [...channels, ...ones]))];
  };
}

function grouped<A extends ConvolutionAttributes>(
  operation: Operation<A>,
  inputs: readonly Value[],
  axes: readonly [number, number],
  output: number,
  attributes: A,
): Value {
  const count = (inputs[0] as Value).shape[0] as number;
  const joined = inputs.map((x, i) => joinedInto(x, axes[i] as number));
  const y = applyOne(operation, joined, { ...attributes, groups: attributes.groups * count });
  const apart = reshape(y, [
    ...y.shape.slice(0, output),
    count,
    divideDims(y.shape[output] as Dim, count) as Dim,
    ...y.shape.slice(output + 1),
  ]);
  return output === 0 ? apart : transpose(apart, [1, 0, ...apart.shape.slice(2).map((_, i) => i + 2)]);
}

/** `x` [n, ...] with its first axis joined to axis `axis` of what follows. */
function joinedInto(x: Value, axis: number): Value {
  const moved = axis === 0 ? x : transpose(x, [1, 0, ...x.shape.slice(2).map((_, i) => i + 2)]);
  const shape = moved.shape;
  return reshape(moved, [
    ...shape.slice(0, axis),
    multiplyDims(shape[axis] as Dim, shape[axis + 1] as Dim),
    ...shape.slice(axis + 2),
  ]);
}

export const convolutionOperations = [convolutionOperation, transposeOperation, weightOperation];

export interface ConvolutionOptions extends WindowOptions {
  /** A number for each channel of the result. */
  readonly bias?: Value;
  /** Channels fall into so many groups, each convolved by itself; 1 unless given, the channels for a depthwise one. */
  readonly groups?: number;
}

export interface ConvolutionTransposeOptions extends Omit<ConvolutionOptions, "pads"> {
  /** Places taken from the sides of the result: one number, one for each axis, or those before and those after. */
  readonly pads?: number | readonly number[];
  readonly outputPadding?: number | readonly number[];
}

/**
 * Convolution in the sense of neural networks (a correlation) over one to three spatial axes; ONNX's `Conv`.
 *
 * @param x [N, C, ...spatial]
 * @param w [O, C / groups, ...kernel]; the kernel's sizes are numbers
 * @returns [N, O, ...], each spatial size (size + pads - span) / stride + 1, rounded down
 * @throws where channels or options do not fit, or a stride above 1 meets a size whose quotient is unknown
 */
export function convolution(x: Value, w: Value, { bias, groups = 1, ...options }: ConvolutionOptions = {}): Value {
  const window = named("convolution", x, () =>
    windowOf(spatialOf(x), numbersOf("the size of a kernel", w.shape.slice(2)), options),
  );
  return applyOne(convolutionOperation, bias === undefined ? [x, w] : [x, w, bias], { ...window, groups });
}

/**
 * The transpose of `convolution` as a linear map, also called deconvolution; ONNX's `ConvTranspose`.
 *
 * @param x [N, C, ...spatial]
 * @param w [C, O / groups, ...kernel]; the kernel's sizes are numbers
 * @param options `pads` are numbers, which take away from the result's sides; `outputPadding` (0 unless given, below the
 *   strides) adds places after its end
 * @returns [N, O, ...], each spatial size (size - 1) * stride + span - pads + outputPadding
 */
export function convolutionTranspose(
  x: Value,
  w: Value,
  { bias, groups = 1, outputPadding = 0, ...options }: ConvolutionTransposeOptions = {},
): Value {
  const attributes = named("convolutionTranspose", x, () => {
    const spatial = spatialOf(x);
    const kernel = numbersOf("the size of a kernel", w.shape.slice(2));
    return {
      ...windowOf(spatial, kernel, options),
      outputPadding: perAxis("outputPadding", outputPadding, spatial.length, 0),
    };
  });
  return applyOne(transposeOperation, bias === undefined ? [x, w] : [x, w, bias], { ...attributes, groups });
}

/**
 * The kernel's gradient of a convolution: the sum over examples and positions of `x` at every tap times `y`.
 *
 * @param x [N, C, ...spatial], the convolution's input
 * @param y [N, O, ...positions], of the shape of its output
 * @param kernel the sizes of the kernel
 * @returns [O, C / groups, ...kernel]
 */
export function convolutionWeight(
  x: Value,
  y: Value,
  kernel: readonly number[],
  { groups = 1, ...options }: Omit<ConvolutionOptions, "bias"> = {},
): Value {
  const window = named("convolutionWeight", x, () => windowOf(spatialOf(x), kernel, options));
  return applyOne(weightOperation, [x, y], { ...window, groups, kernel });
}

/**
 * What the methods of this room share: which input of a network is the image, and the number a row that they explain,
 * attack or maximise. The class of each row is an input of the graph, so that another class is no new session.
 */
import { setImmediate } from "node:timers/promises";
import { usageError } from "../errors.js";
import {
  constantLike,
  type Dim,
  expand,
  formatShape,
  type GradientRule,
  gatherElements,
  isFloat,
  pullback,
  reshape,
  type Value,
  type ValueType,
} from "../graph/index.js";
import type { Network, NetworkCall, NetworkFunction, NetworkProgram } from "../model/index.js";
import { elementCount, type Tensor, tensorOf, zeros } from "../runtime/index.js";

/** A class, as an index of the scores; or one number a row, [batch], of any sites. */
export type Target = number | ((call: NetworkCall) => Value);

export interface ClassifierOptions {
  /** The input that is the image, [batch, channels, height, width]; the only one of four dimensions unless given. */
  readonly input?: string;
  /** The site that holds the scores of the classes, [batch, classes], before a softmax; `logits` unless given. */
  readonly scores?: string;
}

/** Tensors of a network's inputs by name. */
export type Feeds = Readonly<Record<string, Tensor>>;

const inputName = (value: Value) => value.node.attributes.name as string;

/** The image among the inputs of a network, as its value and name. Throws where there is none or it isn't clear which. */
export function imageInput(network: Network, name?: string): { readonly name: string; readonly value: Value } {
  const images = network.graph.inputs.filter(({ shape, dtype }) => shape.length === 4 && isFloat(dtype));
  const found = images.filter((value) => name === undefined || inputName(value) === name);
  const [value] = found;
  if (value !== undefined && found.length === 1) return { name: inputName(value), value };
  const inputs = network.graph.inputs.map((each) => `${inputName(each)} ${formatShape(each.shape)}`).join(", ");
  throw usageError(
    `${name === undefined ? "which input is the image is not clear" : `"${name}" is no image`}: name one of shape [batch, channels, height, width] as \`input\`; the inputs are ${inputs || "none"}`,
  );
}

/** Channels, height and width of an image or a site. Throws where they are symbols or there are no such. */
export function planeOf(value: Value, what: string): { channels: number; height: number; width: number } {
  const [, channels, height, width] = value.shape;
  if (value.shape.length === 4 && [channels, height, width].every((size) => typeof size === "number"))
    return { channels: channels as number, height: height as number, width: width as number };
  throw usageError(
    `${what} must have shape [batch, channels, height, width] with numbers for the last three, not ${formatShape(value.shape)}`,
  );
}

/** The tensor fed as the image. Throws where it is missing or of another type. */
export function imageOf(feeds: Feeds, name: string): Tensor<"float32"> {
  const image = feeds[name];
  if (image === undefined) throw usageError(`the image is missing: feed it as "${name}"`);
  if (image.dtype !== "float32" || image.shape.length !== 4)
    throw usageError(
      `the image "${name}" must be float32 [batch, channels, height, width], not ${image.dtype}${formatShape(image.shape)}`,
    );
  return image as Tensor<"float32">;
}

const classInput = "class of each row";

/**
 * The site with the scores of the classes. Throws where it is none of shape [batch, classes], or one of `classes` is no
 * index of it.
 */
export function scoresSite(
  network: Network,
  classes: Iterable<number>,
  { scores = "logits" }: ClassifierOptions,
): string {
  const [name] = network.sites(scores) as [string];
  const { shape } = network.graph.sites.get(name) as Value;
  if (shape.length !== 2)
    throw usageError(
      `scores of classes have shape [batch, classes]; "${scores}" has ${formatShape(shape)}: name another site as \`scores\`, or give a function`,
    );
  const count = shape[1] as Dim;
  for (const index of classes) {
    if (Number.isInteger(index) && index >= 0 && (typeof count === "string" || index < count)) continue;
    throw usageError(`${index} is no class: "${scores}" has ${count}, from 0`);
  }
  return name;
}

/** The class of each row as a value, int64 [batch]. */
export const rowClasses = (call: NetworkCall): Value => call.input(classInput);

/** At every row of `scores` [batch, classes], the number of the class of the row, [batch]. */
export function ofClass(scores: Value, classes: Value): Value {
  const batch = classes.shape[0] as Dim;
  return reshape(gatherElements(scores, reshape(classes, [batch, 1]), 1), [batch]);
}

/** The number a row that a target names, [batch]: for a class, that of the row among the scores at `site`. */
export function targetValue(call: NetworkCall, target: Target, site: string): Value {
  if (typeof target === "number") return ofClass(call.site(site), rowClasses(call));
  return oneEach(target(call), "a target");
}

/** The value, which must be one number a row. */
export function oneEach(value: Value, what: string): Value {
  if (value.shape.length === 1) return value;
  throw usageError(`${what} is one number a row, [batch], not ${formatShape(value.shape)}: reduce it first`);
}

/** Compiles a function that may read the class of each row, and further inputs of these types. */
export function compileWithClasses(
  network: Network,
  image: Value,
  fn: NetworkFunction,
  inputs: Readonly<Record<string, ValueType>> = {},
): NetworkProgram {
  return network.compile(fn, { ...inputs, [classInput]: { dtype: "int64", shape: [image.shape[0] as Dim] } });
}

/** The feed of each row's class. */
export function classFeed(classes: ArrayLike<number>): Feeds {
  return { [classInput]: tensorOf("int64", [classes.length], classes) };
}

export interface TargetOptions extends ClassifierOptions {
  /** What is explained, or several of them: the results have a dimension for them, after the batch's. */
  readonly of: Target | readonly Target[];
}

/** What a method computes of one target: outputs [batch, ...] by name, of the number a row and of the image. */
export type TargetFunction = (call: NetworkCall, value: Value, image: Value) => Record<string, Value>;

/** The outputs for every target, [batch, targets, ...] by name. */
export type TargetProgram = (feeds: Feeds) => Promise<Record<string, Tensor>>;

/**
 * Compiles what `fn` makes of every target of `of`: all classes through one graph, run once for each. Throws where there is
 * no target, or a class or the image is not among those of the network.
 */
export function compileTargets(
  network: Network,
  { of, input, ...options }: TargetOptions,
  fn: TargetFunction,
): TargetProgram {
  const targets = typeof of === "number" || typeof of === "function" ? [of] : of;
  if (targets.length === 0) throw usageError("name at least one target in `of`");
  const image = imageInput(network, input);
  const classes = targets.filter((target) => typeof target === "number");
  const site = classes.length === 0 ? "" : scoresSite(network, classes, options);
  const programOf = (target: Target) =>
    compileWithClasses(network, image.value, (call) => fn(call, targetValue(call, target, site), image.value));
  const ofClasses = classes[0] === undefined ? undefined : programOf(classes[0]);
  const runs = targets.map((target) =>
    typeof target === "number" && ofClasses !== undefined
      ? { program: ofClasses, index: target }
      : { program: programOf(target), index: 0 },
  );
  return async (feeds) => {
    const batch = imageOf(feeds, image.name).shape[0] as number;
    const found: Record<string, Tensor>[] = [];
    for (const { program, index } of runs) {
      found.push(await program({ ...feeds, ...classFeed(new Array(batch).fill(index)) }));
      await setImmediate(); // the runtime blocks while it runs: let progress show and Ctrl-C arrive
    }
    const names = Object.keys(found[0] as Record<string, Tensor>);
    const all = names.map((name) => [name, stackedRows(found.map((outputs) => outputs[name] as Tensor))]);
    return Object.fromEntries(all);
  };
}

/** Tensors [batch, ...] of one shape as one, [batch, count, ...]. */
function stackedRows(parts: readonly Tensor[]): Tensor {
  const [batch, ...rest] = (parts[0] as Tensor).shape as [number, ...number[]];
  const result = zeros("float32", [batch, parts.length, ...rest]);
  const size = elementCount(rest);
  parts.forEach(({ data }, t) => {
    for (let b = 0; b < batch; b++)
      result.data.set((data as Float32Array).subarray(b * size, (b + 1) * size), (b * parts.length + t) * size);
  });
  return result;
}

/**
 * The gradient at `at` of one number a row, through other rules for some operations where given. Throws where the number
 * does not depend on it.
 */
export function gradientAt(
  value: Value,
  at: Value,
  what: string,
  rules: ReadonlyMap<string, GradientRule> = new Map(),
): Value {
  const [gradient] = pullback(new Map([[value, expand(constantLike(value, 1), value.shape)]]), [at], { rules });
  if (gradient !== undefined) return gradient;
  throw usageError(`the target does not depend on ${what}, so it has no gradient there: name an earlier site`);
}

/**
 * The graphs of activation maximisation. The network is traced on top of the picture that the parameters decode to, so that
 * a step is one run of one compiled graph; what changes from step to step (parameters, transformations) and from call to
 * call (classes, weights of penalties) is fed.
 */
import { usageError } from "../errors.js";
import { type Dim, formatShape, mul, sub, substitute, type Value } from "../graph/index.js";
import type { Network, NetworkCall } from "../model/index.js";
import { type Random, type Tensor, tensorOf } from "../runtime/index.js";
import type { MaximizationOptions } from "./maximization.js";
import { fourier, type Parametrisation, type Picture, pixels } from "./parametrisation.js";
import { likeness, penalties, type Regularisers } from "./penalties.js";
import { startOf } from "./start.js";
import {
  type ClassifierOptions,
  classFeed,
  compileWithClasses,
  type Feeds,
  gradientAt,
  imageInput,
  planeOf,
  scoresSite,
  type Target,
  targetValue,
} from "./targets.js";
import { changesNothing, transformed } from "./transformations.js";

export interface Ascent {
  readonly rows: number;
  readonly picture: Picture;
  /** Least and largest number that a parameter may have. */
  readonly bounds: readonly [number, number];
  /** The first parameters. */
  start(source: Random): Promise<Tensor<"float32">>;
  /** Each row's value under the transformations, and the gradient of what is raised at the parameters. */
  slope(parameters: Tensor, maps: Tensor): Promise<{ gradient: Float32Array; values: number[] }>;
  /** The pictures, and each row's value without transformations. */
  show(parameters: Tensor): Promise<{ images: Tensor<"float32">; values: number[] }>;
}

const parametersInput = "parameters of the picture";
const mapsInput = "map of each row";
const pairsInput = "pairs of rows that are to differ";
const weightInput = (name: string) => `weight of ${name}`;

/** Compiles what `activationMaximization` runs. Throws where an option is out of range or does not fit the network. */
export async function openAscent(network: Network, options: MaximizationOptions): Promise<Ascent> {
  const { input, count = 1, range = [0, 1], colours, parametrisation: kind = "fourier" } = options;
  const { value: image } = imageInput(network, input);
  const picture = { ...planeOf(image, "the image"), range };
  checkPicture(picture, image, count);
  const parametrisation = kind === "pixels" ? pixels(picture) : await fourier(picture, colours);
  const targets = targetsOf(network, options, count);
  const { classes, rows } = targets;
  const [slope, show] = [true, false].map((ascends) =>
    compile(network, image, parametrisation, targets, { ...options, range, ascends }),
  ) as [ReturnType<typeof compile>, ReturnType<typeof compile>];
  const fixed = { ...options.feeds, ...classFeed(classes), ...numbersOf(options, classes, count) };
  const numbers = (value: Tensor | undefined) => Array.from(value?.data as Float32Array);
  return {
    rows,
    picture,
    bounds: parametrisation.bounds ?? [-Infinity, Infinity],
    start: (source) => startOf(network, parametrisation, picture, rows, options, source),
    async slope(parameters, maps) {
      const found = await slope({ ...fixed, [parametersInput]: parameters, [mapsInput]: maps });
      return { gradient: found.gradient?.data as Float32Array, values: numbers(found.values) };
    },
    async show(parameters) {
      const found = await show({ ...fixed, [parametersInput]: parameters });
      return { images: found.images as Tensor<"float32">, values: numbers(found.values) };
    },
  };
}

function checkPicture({ height, width, range: [low, high] }: Picture, image: Value, count: number): void {
  if (!(Number.isFinite(low) && low < high && high < Infinity))
    throw usageError(`range must be two rising numbers, not [${low}, ${high}]`);
  if (image.dtype !== "float32" || height < 2 || width < 2)
    throw usageError(
      `the image must be float32 of at least 2 by 2 pixels, not ${image.dtype}${formatShape(image.shape)}`,
    );
  if (!Number.isInteger(count) || count < 1)
    throw usageError(`count must be a whole number of at least 1, not ${count}`);
}

interface Targets {
  readonly target: Target;
  /** The site of the classes' scores, where it is a class. */
  readonly site: string;
  /** Of every row; which target it has, where that is no class. */
  readonly classes: readonly number[];
  readonly rows: number;
}

function targetsOf(network: Network, options: MaximizationOptions, count: number): Targets {
  const { of } = options;
  const one = typeof of === "object" ? of[0] : of;
  if (one === undefined) throw usageError("name at least one class in `of`");
  const list = typeof of === "object" ? of : [typeof of === "number" ? of : 0];
  const classes = list.flatMap((index) => new Array<number>(count).fill(index));
  const site = typeof one === "number" ? scoresSite(network, classes, options as ClassifierOptions) : "";
  return { target: one, site, classes, rows: classes.length };
}

interface Shown extends MaximizationOptions {
  readonly range: readonly [number, number];
  /** Whether the gradient is asked for, or the picture. */
  readonly ascends: boolean;
}

function compile(
  network: Network,
  image: Value,
  { decode }: Parametrisation,
  { target, site }: Targets,
  { ascends, range, transformations = {}, diversity, regularisers = {} }: Shown,
) {
  const batch = image.shape[0] as Dim;
  const names = regulariserNames(regularisers);
  const still = changesNothing(transformations);
  const build = (call: NetworkCall): Record<string, Value> => {
    const parameters = call.input(parametersInput);
    const picture = decode(parameters);
    const seen = still || !ascends ? picture : transformed(picture, call.input(mapsInput));
    const value = targetValue(call, target, site);
    gradientAt(value, image, "the image"); // else only the penalties would move it
    const alike = diversity === undefined ? [] : [likeness(call.site(diversity.site), call.input(pairsInput))];
    const [values, ...repelled] = substitute([value, ...alike], new Map([[image, seen]])) as [Value, ...Value[]];
    if (!ascends) return { values, images: picture };
    const middle = (range[0] + range[1]) / 2;
    const subtracted = [
      ...repelled,
      ...names.map((name) => mul(penalties[name](picture, middle), call.input(weightInput(name)))),
    ];
    const raised = subtracted.reduce((sum, term) => sub(sum, term), values);
    return { values, gradient: gradientAt(raised, parameters, "the parameters") };
  };
  return compileWithClasses(network, image, build, {
    [parametersInput]: { dtype: "float32", shape: image.shape },
    [mapsInput]: { dtype: "float32", shape: [batch, 2, 3] },
    [pairsInput]: { dtype: "float32", shape: [batch, batch] },
    ...Object.fromEntries(names.map((name) => [weightInput(name), { dtype: "float32" as const, shape: [] }])),
  });
}

/** Those that are given; a weight of 0 counts, since it is a number of the same graph. */
function regulariserNames(regularisers: Regularisers): (keyof Regularisers)[] {
  return Object.keys(regularisers).map((name) => {
    const known = Object.keys(penalties) as (keyof Regularisers)[];
    const found = known.find((each) => each === name);
    if (found === undefined) throw usageError(`there is no regulariser "${name}"; there are ${known.join(", ")}`);
    if (Number.isFinite(regularisers[found])) return found;
    throw usageError(`the weight of ${name} must be a number, not ${regularisers[found]}`);
  });
}

/** The weights of penalties, and of pairs of rows that are pictures of one target, as feeds. */
function numbersOf(
  { regularisers = {}, diversity }: MaximizationOptions,
  classes: readonly number[],
  count: number,
): Feeds {
  const weights = Object.entries(regularisers).map(([name, weight]) => [
    weightInput(name),
    tensorOf("float32", [], [weight as number]),
  ]);
  const each = (diversity?.weight ?? 0) / Math.max(1, count - 1);
  const pairs = classes.flatMap((_, i) =>
    classes.map((_, j) => (i !== j && Math.floor(i / count) === Math.floor(j / count) ? each : 0)),
  );
  const rows = classes.length;
  return { ...Object.fromEntries(weights), [pairsInput]: tensorOf("float32", [rows, rows], pairs) };
}

/** A number that a network computes as a differentiable function of one of its inputs or sites. */
import { usageError } from "../errors.js";
import { type Dim, expand, input, pullback, type Value } from "../graph/index.js";
import type { Network, NetworkCall } from "../model/index.js";
import { reshaped, row, type Tensor, toNumbers, zeros } from "../runtime/index.js";
import { type DifferentiableFunction, ones, traceFlows } from "./differentiable.js";

export interface NetworkFunctionOptions {
  /** What is explained: one number a row, [batch]; where the network knows no batch, one number. */
  readonly of: (call: NetworkCall) => Value;
  /** The input or site whose value is explained. */
  readonly at: string;
  /** Most points in one evaluation, where the first dimension of the site is symbolic; 16 unless given. */
  readonly rows?: number;
  /**
   * Dimensions of the value, its row aside, that together are one token or pixel: the first of three or more (channels),
   * the last of two (width), none of one, unless given.
   */
  readonly features?: readonly number[];
}

/** Names of what is fed and returned beside the network's own. */
const names = {
  point: "explained point",
  direction: "explained direction",
  number: "explained number",
  result: "explained result",
};

/** How points lie in the network: as rows of a batch of that symbolic size, as its one row, or without a row. */
interface Layout {
  readonly batch: Dim | undefined;
  readonly hasRow: boolean;
}

/**
 * A number of a network as a function of the value of an input or site, for feeds of one row. Where the site's first
 * dimension is symbolic, points are rows of a batch, and other feeds with that dimension are repeated.
 *
 * Throws where the site is unknown or several, holds no float32, or `of` is not one number a row.
 */
export async function networkFunction(
  network: Network,
  feeds: Readonly<Record<string, Tensor>>,
  { of, at, rows = 16, features }: NetworkFunctionOptions,
): Promise<DifferentiableFunction> {
  if (!Number.isInteger(rows) || rows < 1) throw usageError(`rows must be a whole number of at least 1, not ${rows}`);
  const name = onlySite(network, at);
  const here = (await network.record(feeds, name))[name] as Tensor;
  if (here.dtype !== "float32")
    throw usageError(`${name} holds ${here.dtype}; float32 is needed here: name a later site`);
  const layout = layoutOf(network, name, here);
  const shape = layout.hasRow ? here.shape.slice(1) : here.shape;
  const wrong = features?.find((d) => !Number.isInteger(d) || d < 0 || d >= shape.length);
  if (wrong !== undefined)
    throw usageError(`features are dimensions of [${shape.join(", ")}], from 0; ${wrong} is none of them`);
  const view = network.with({ site: name, apply: (x) => input(names.point, x.dtype, x.shape) });
  const feedsFor = (points: Tensor) => ({
    ...repeatRows(network, feeds, layout, points.shape[0] as number),
    [names.point]: layout.hasRow ? points : row(points, 0),
  });
  const value = view.compile((call) => ({ [names.number]: numberOf(call, of, layout) }));
  const gradient = view.compile((call) => {
    const number = numberOf(call, of, layout);
    const [found] = pullback(new Map([[number, ones(number)]]), [call.site(name)]);
    if (found === undefined) throw usageError(`what is explained does not depend on ${name}: name an earlier site`);
    return { [names.number]: number, [names.result]: found };
  });
  const flowing = new Map<string, ReturnType<typeof compileFlows>>();
  return {
    at: reshaped(here, shape),
    features: features ?? defaultFeatures(shape.length),
    rows: layout.batch === undefined ? 1 : rows,
    values: async (points) => numbersIn(await value(feedsFor(points))),
    async evaluate(points) {
      const found = await gradient(feedsFor(points));
      return { values: numbersIn(found), gradients: reshaped(found[names.result] as Tensor, points.shape) };
    },
    async flows(points, direction, hidden) {
      const known = flowing.get(hidden) ?? compileFlows(view, { of, at: name, hidden, layout, direction: here.shape });
      flowing.set(hidden, known);
      const along = { [names.direction]: reshaped(direction, here.shape) };
      const found = await known.program({ ...feedsFor(points), ...along });
      const result = found[names.result] as Tensor;
      const own = layout.hasRow ? result.shape.slice(1) : result.shape;
      const flows = reshaped(result, [points.shape[0] as number, ...own]);
      return { flows, features: defaultFeatures(own.length), separates: known.separates };
    },
  };
}

const numbersIn = (outputs: Readonly<Record<string, Tensor>>) => toNumbers(outputs[names.number] as Tensor);

function onlySite(network: Network, pattern: string): string {
  const found = network.sites(pattern);
  const [name] = found as [string];
  if (found.length === 1) return name;
  throw usageError(`"${pattern}" stands for ${found.length} sites; one is needed here, such as ${name}`);
}

function layoutOf(network: Network, name: string, { shape: [size] }: Tensor): Layout {
  const dim = network.graph.sites.get(name)?.shape[0];
  if (size !== 1) return { batch: undefined, hasRow: false };
  return { batch: typeof dim === "string" ? dim : undefined, hasRow: true };
}

/** What is explained. Throws unless it is one number a row. */
function numberOf(call: NetworkCall, of: (call: NetworkCall) => Value, { batch }: Layout): Value {
  const value = of(call);
  const { shape } = value;
  if (batch === undefined ? shape.every((size) => size === 1) : shape.length === 1 && shape[0] === batch) return value;
  throw usageError(
    `what is explained must be one number${batch === undefined ? "" : ` a row, shape [${batch}]`}; this has shape [${shape.join(", ")}]: reduce it, or choose one element`,
  );
}

interface FlowPlan {
  readonly of: (call: NetworkCall) => Value;
  readonly at: string;
  readonly hidden: string;
  readonly layout: Layout;
  /** The shape in which the direction is fed. */
  readonly direction: readonly number[];
}

function compileFlows(view: Network, { of, at, hidden, layout, direction }: FlowPlan) {
  const name = onlySite(view, hidden);
  let separates = false;
  const program = view.compile(
    (call) => {
      const [number, x, y] = [numberOf(call, of, layout), call.site(at), call.site(name)];
      if (layout.hasRow && y.shape[0] !== x.shape[0])
        throw usageError(
          `${name} has shape [${y.shape.join(", ")}]; its first dimension must count rows as that of ${at} does`,
        );
      const traced = traceFlows(number, x, y, expand(call.input(names.direction), x.shape), { at, hidden: name });
      separates = traced.separates;
      return { [names.result]: traced.flows };
    },
    { [names.direction]: { dtype: "float32", shape: direction } },
  );
  return { program, separates };
}

/** Feeds for several rows: those that have a row, as the site has, are repeated. */
function repeatRows(
  { graph }: Network,
  feeds: Readonly<Record<string, Tensor>>,
  { batch }: Layout,
  count: number,
): Record<string, Tensor> {
  const repeated = { ...feeds };
  for (const { node, shape } of graph.inputs) {
    const name = node.attributes.name as string;
    const feed = feeds[name];
    if (batch !== undefined && shape[0] === batch && feed !== undefined) repeated[name] = repeatRow(feed, count);
  }
  return repeated;
}

function repeatRow({ dtype, shape, data }: Tensor, count: number): Tensor {
  const result = zeros(dtype, [count, ...shape.slice(1)]);
  for (let i = 0; i < count; i++) result.data.set(data as never, i * data.length);
  return result;
}

function defaultFeatures(rank: number): readonly number[] {
  return rank >= 3 ? [0] : rank === 2 ? [1] : [];
}

/**
 * From a model's graph to the one that a call runs: clamps spliced in, outputs added, the rest pruned. What varies between
 * calls of one form (numbers, positions, heads, neurons, rows) enters as inputs, whose values `feeds` computes.
 */

import { usageError } from "../errors.js";
import {
  add,
  and,
  checkpoint,
  constantLike,
  type Dim,
  evaluateDim,
  expand,
  type Graph,
  input,
  inputsOf,
  pullback,
  reshape,
  type Shape,
  scalarsBetween,
  simplify,
  spliceAll,
  substitute,
  type Value,
  where,
  withOutputs,
} from "../graph/index.js";
import { type Tensor, tensorOf } from "../runtime/index.js";
import type { Clamp, ClampContext, ClampOperand } from "./clamps.js";
import { decoderInputs } from "./decoder/decoder.js";
import { coveredPositions, materialize, operandForm } from "./operand.js";
import { type Depth, type Reading, readAt } from "./places.js";
import { type Axis, layerOf, siteKind } from "./sites/names.js";
import type { Part } from "./sites/reference.js";
import type { Rows } from "./sites/rows.js";
import {
  type ClampMasks,
  clampMasks,
  describeExtent,
  gatherIndices,
  rangesOfRow,
  resolvePart,
  type SiteExtent,
} from "./sites/select.js";

/** One output that a call wants: a site, or the part of it that `parts` selects, under a name. */
export interface Want {
  readonly name: string;
  readonly site: string;
  readonly parts: readonly Part[];
}

/** A clamp at one site. */
export interface BoundClamp {
  readonly clamp: Clamp;
  readonly site: string;
  readonly parts: readonly Part[];
}

/** What further outputs are computed from. */
export interface DeriveContext {
  /** The value of a site, clamps included. */
  site(name: string): Value;
  /** The value of a site at one position of each row (negatives from its end), its position dimension dropped. */
  at(name: string, position: number): Value;
  /** One of the decoder's own inputs. */
  input(name: string): Value;
  /** A further input, fed at every run of the call. */
  feed(name: string, tensor: Tensor): Value;
}

/** Further outputs computed from sites, by name. */
export type Derive = (context: DeriveContext) => Record<string, Value>;

/** One number of each row, [batch] (or of the whole batch, []): what a gradient is taken of. */
export type Scalar = (context: DeriveContext) => Value;

/** What a call wants besides the clamps. */
export interface CallForm {
  /** Outputs: the values of sites, or the gradients there where `gradientOf` is given. */
  readonly wants: readonly Want[];
  readonly derive?: Derive;
  /** The gradient of this at the wanted sites; its own value is the output `value`. */
  readonly gradientOf?: Scalar;
  /** Sites that the gradient keeps, computing what follows them again. */
  readonly checkpoints?: readonly string[];
}

/** Values of the inputs that a call adds to the model's own, for a batch. `open`: rows will grow (generation). */
export type ExtraFeeds = (rows: Rows, options: { open: boolean }) => Record<string, Tensor>;

export interface PreparedGraph {
  readonly graph: Graph;
  readonly feeds: ExtraFeeds;
}

/** The graph of a call, and what feeds it. */
export function prepareGraph(
  base: Graph,
  clamps: readonly BoundClamp[],
  { wants, derive, gradientOf, checkpoints = [] }: CallForm,
): PreparedGraph {
  const feeders: ExtraFeeds[] = [];
  const inputNamed = (name: string) => base.inputs.find((value) => value.node.attributes.name === name) as Value;
  const edits = clamps.map((bound, i) => ({
    site: bound.site,
    apply: (x: Value) => applyClamp(bound, i, x, inputNamed(decoderInputs.positions), feeders),
  }));
  const kept = checkpoints.map((site) => ({ site, apply: checkpoint }));
  const edited = edits.length + kept.length === 0 ? base : spliceAll(base, [...edits, ...kept]);
  const siteOf = (name: string) => edited.sites.get(name) ?? edited.sites.get(name.replace(/@before$/, ""));
  const site = (name: string) => siteOf(name) as Value;
  const outputs = new Map<string, Value>();
  const readings: Reading[] = [];
  const scalar = gradientOf?.(deriveContext(site, inputNamed, feeders, readings));
  const wanted = wants.map((want) => site(want.site));
  const values = scalar === undefined ? wanted : gradientsAt(scalar, wants, wanted, readings);
  wants.forEach((want, i) => {
    outputs.set(want.name, selectOutput(want, i, values[i] as Value, feeders));
  });
  if (scalar !== undefined) outputs.set("value", scalar);
  const derived = derive?.(deriveContext(site, inputNamed, feeders)) ?? {};
  for (const [name, value] of Object.entries(derived)) outputs.set(name, value);
  const declared = declareInputs(edited, outputs);
  const taken = declared.inputs.find((value) => Object.hasOwn(derived, value.node.attributes.name as string));
  if (taken !== undefined) {
    throw usageError(
      `the output "${taken.node.attributes.name}" has the name of an input of the graph: call it something else`,
    );
  }
  const graph = withOutputs(declared, outputs);
  return {
    graph: scalar === undefined ? graph : simplify(graph),
    feeds: (rows, options) =>
      Object.assign({}, ...feeders.map((feed) => feed(rows, options))) as Record<string, Tensor>,
  };
}

/**
 * What a call's own functions read. `readings` collects what was read at single positions; without it, such a read stays
 * above every site but the last norm and the logits, so that a function may take gradients at sites by itself.
 */
function deriveContext(
  site: (name: string) => Value,
  ownInput: (name: string) => Value,
  feeders: ExtraFeeds[],
  readings?: Reading[],
): DeriveContext {
  const known = new Map<string, Value>();
  const once = (key: string, make: () => Value): Value => {
    const value = known.get(key) ?? make();
    known.set(key, value);
    return value;
  };
  return {
    site,
    at: (name, position) =>
      once(`position ${position} of ${name}`, () => {
        const indices = placeOf(name, position, site(name).shape[0] as Dim, feeders);
        const reading = readAt(site(name), indices, 2, readings === undefined ? depthAlone(name) : "all");
        readings?.push(reading);
        return reading.value;
      }),
    input: ownInput,
    feed: (name, tensor) =>
      once(`fed ${name}`, () => {
        feeders.push(() => ({ [name]: tensor }));
        return input(name, tensor.dtype, tensor.shape);
      }),
  };
}

/** How far a read at one position sinks where nobody keeps the twins: to the last residual stream, from what follows it. */
const depthAlone = (site: string): Depth => (site === "logits" || site === "finalNorm" ? "head" : "none");

/**
 * The gradients of the sum of a scalar over rows (which do not see each other) at the wanted sites: what reaches a site as
 * a whole, and what reaches the places of it that were read alone.
 */
function gradientsAt(
  scalar: Value,
  wants: readonly Want[],
  sites: readonly Value[],
  readings: readonly Reading[],
): Value[] {
  const parts = sites.map((site) =>
    readings.flatMap(({ twins, spread }) => {
      const twin = twins.get(site);
      return twin === undefined ? [] : [{ twin, spread: (gradient: Value) => spread(site, gradient) }];
    }),
  );
  const at = [...sites, ...parts.flat().map(({ twin }) => twin)];
  const found = pullback(new Map([[scalar, expand(constantLike(scalar, 1), scalar.shape)]]), at);
  const gradientOf = new Map(at.map((value, i) => [value, found[i]]));
  return sites.map((site, i) => {
    const spreads = (parts[i] ?? []).map(({ twin, spread }) => {
      const gradient = gradientOf.get(twin);
      return gradient && spread(gradient);
    });
    const terms = [gradientOf.get(site), ...spreads].filter((term) => term !== undefined);
    if (terms.length === 0) throw usageError(disconnected((wants[i] as Want).site));
    return terms.reduce((a, b) => add(a, b));
  });
}

function disconnected(site: string): string {
  const advice = site.endsWith(".attn.result")
    ? "it is computed aside, from attn.z, and nothing reads it: take the gradient at attn.z or attn.out"
    : "it lies after or beside everything that the metric reads: take the gradient at an earlier site, or choose a metric that depends on this one";
  return `the metric does not depend on ${site}, so it has no gradient there: ${advice}`;
}

/** Inputs that outputs brought in (gather indices, what `derive` made) join those of the graph. */
function declareInputs(graph: Graph, outputs: ReadonlyMap<string, Value>): Graph {
  return { ...graph, inputs: [...new Set([...graph.inputs, ...inputsOf(outputs.values())])] };
}

/** The shape of a site in a batch. */
export function extentOf(site: string, shape: Shape, rows: Rows): SiteExtent {
  const axes = siteKind(site)?.axes as readonly Axis[];
  const sizes = { batch: rows.lengths.length, seq: rows.columns, past: rows.keyColumns - rows.columns };
  return { site, axes, shape: shape.map((dim) => evaluateDim(dim, sizes)), rows };
}

function applyClamp(
  { clamp, site, parts }: BoundClamp,
  index: number,
  x: Value,
  positions: Value,
  feeders: ExtraFeeds[],
): Value {
  const name = `clamp${index}`;
  const context: ClampContext = { site, layer: layerOf(site), positions };
  const operands = clamp.operandsAt(site, parts);
  const values = operands.map((operand, j) => operandInput(operand, `${name}.operand${j}`, x, parts, site));
  const lifted = liftScalars(clamp.apply(x, values, context), x, name);
  const axes = siteKind(site)?.axes as readonly Axis[];
  const masked = maskInputs(name, axes, x, parts);
  feeders.push((rows, { open }) => {
    const extent = extentOf(site, x.shape, rows);
    return {
      ...maskFeeds(name, extent, parts, operands, open),
      ...operandFeeds(name, operands, extent, parts, open),
      ...lifted.feeds,
    };
  });
  return where(masked, lifted.value, x);
}

function operandInput(operand: ClampOperand, name: string, x: Value, parts: readonly Part[], site: string): Value {
  if (operand.kind === "whole") return input(name, "float32", operand.tensor.shape);
  const varies = operandForm(operand.operand, parts, site);
  const axes = siteKind(site)?.axes as readonly Axis[];
  const perRow = varies[0] || varies.some((yes, d) => yes && (axes[d] === "position" || axes[d] === "key"));
  return input(
    name,
    "float32",
    x.shape.map((dim, d) => ((d === 0 ? perRow : varies[d]) ? dim : 1)),
  );
}

function operandFeeds(
  name: string,
  operands: readonly ClampOperand[],
  extent: SiteExtent,
  parts: readonly Part[],
  open: boolean,
): Record<string, Tensor> {
  return Object.fromEntries(
    operands.map((operand, j) => [
      `${name}.operand${j}`,
      operand.kind === "whole" ? operand.tensor : materialize(operand.operand, extent, parts, open),
    ]),
  );
}

/** Scalar constants of a traced function become inputs, so that another number is not another graph. */
function liftScalars(value: Value, x: Value, name: string): { value: Value; feeds: Record<string, Tensor> } {
  const feeds: Record<string, Tensor> = {};
  const replacements = new Map<Value, Value>();
  scalarsBetween(value, x).forEach((scalar, k) => {
    const key = `${name}.scalar${k}`;
    replacements.set(scalar, input(key, scalar.dtype, []));
    feeds[key] = scalar.node.attributes.tensor as Tensor;
  });
  return { value: substitute([value], replacements)[0] as Value, feeds };
}

/** The shapes of a clamp's masks beside the site: where each dimension's mask varies. */
function maskInputs(name: string, axes: readonly Axis[], x: Value, parts: readonly Part[]): Value {
  const positionAxis = axes.indexOf("position");
  const batch = x.shape[0] as Dim;
  const shaped = (key: string, shape: Shape, places: readonly number[]) => {
    const full = x.shape.map((dim, d) => (places.includes(d) ? dim : 1));
    return reshape(input(key, "bool", shape), full);
  };
  let mask = shaped(`${name}.tokens`, [batch, x.shape[positionAxis] as Dim], [0, positionAxis]);
  parts.forEach((part, d) => {
    if (d === 0 || d === positionAxis || part.kind === "all") return;
    const dim = x.shape[d] as Dim;
    mask = and(
      mask,
      axes[d] === "key" ? shaped(`${name}.mask${d}`, [batch, dim], [0, d]) : shaped(`${name}.mask${d}`, [dim], [d]),
    );
  });
  return mask;
}

function maskFeeds(
  name: string,
  extent: SiteExtent,
  parts: readonly Part[],
  operands: readonly ClampOperand[],
  open: boolean,
): Record<string, Tensor> {
  const masks = clampMasks(extent, parts, open);
  if (open) limitToCovered(masks, extent, parts, operands);
  const feeds: Record<string, Tensor> = { [`${name}.tokens`]: masks.tokens };
  for (const [d, mask] of masks.others) feeds[`${name}.mask${d}`] = mask;
  return feeds;
}

/** In generation, a value given for the prompt's positions says nothing about later ones: they stay as they are. */
function limitToCovered(
  { tokens }: ClampMasks,
  extent: SiteExtent,
  parts: readonly Part[],
  operands: readonly ClampOperand[],
): void {
  const axis = extent.axes.indexOf("position");
  const chosen = resolvePart(parts[0] as Part, extent.rows.lengths.length, describeExtent(extent));
  extent.rows.lengths.forEach((length, row) => {
    if (row < chosen.from || row >= chosen.to) return;
    const ranges = rangesOfRow(extent, parts, row, true);
    const covered = Math.min(
      ...operands.map((operand) =>
        operand.kind === "whole"
          ? Number.POSITIVE_INFINITY
          : coveredPositions(operand.operand, parts, ranges, axis, row),
      ),
    );
    const { columns } = extent.rows;
    const first = Math.max(0, columns - length + Math.min(covered, length));
    tokens.data.fill(0, row * columns + first, (row + 1) * columns);
  });
}

/** One position of each row: its flat index in [batch * seq], an input. */
function placeOf(site: string, position: number, batch: Dim, feeders: ExtraFeeds[]): Value {
  if (siteKind(site)?.axes[1] !== "position")
    throw usageError(`${site} has no single position to read: its positions are not its second dimension`);
  const key = `place ${feeders.length} of ${site}`; // not its number, so that another position is not another graph
  feeders.push(({ lengths, columns }) => ({
    [key]: tensorOf(
      "int64",
      [lengths.length],
      lengths.map((length, row) => (row + 1) * columns + positionFromEnd(position, length, site)),
    ),
  }));
  return input(key, "int64", [batch]);
}

function positionFromEnd(position: number, length: number, site: string): number {
  const fromEnd = position < 0 ? position : position - length;
  if (Number.isInteger(position) && fromEnd < 0 && fromEnd >= -length) return fromEnd;
  throw usageError(`position ${position} of ${site} is out of range: the prompt has ${length} tokens`);
}

function selectOutput({ site, parts }: Want, index: number, value: Value, feeders: ExtraFeeds[]): Value {
  const flattened = parts.findLastIndex((part) => part.kind !== "all") + 1;
  if (flattened === 0) return value;
  const kept = parts.slice(0, flattened).flatMap((part, d) => (part.kind === "index" ? [] : [d]));
  const key = `select${index}`;
  const indices = input(
    key,
    "int64",
    kept.map((d) => `${key}_${d}`),
  );
  feeders.push((rows) => {
    const gathered = gatherIndices(extentOf(site, value.shape, rows), parts);
    if (gathered === undefined) throw usageError(`nothing is selected at ${site}`);
    return { [key]: gathered.indices };
  });
  return readAt(value, indices, flattened, "all").value;
}

/**
 * From a model's graph to the one that a call runs: clamps spliced in, outputs added, the rest pruned. What varies between
 * calls of one form (numbers, positions, heads, neurons, rows) enters as inputs, whose values `feeds` computes.
 */

import { usageError } from "../errors.js";
import {
  and,
  type Dim,
  evaluateDim,
  type Graph,
  gather,
  input,
  inputsOf,
  layerNorm,
  matmul,
  multiplyDims,
  reshape,
  rmsNorm,
  type Shape,
  scalarsBetween,
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
  /** The value of a site at each row's last token, its position dimension dropped. */
  last(name: string): Value;
  /** One of the decoder's own inputs. */
  input(name: string): Value;
}

/** Further outputs computed from sites, by name. */
export type Derive = (context: DeriveContext) => Record<string, Value>;

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
  wants: readonly Want[],
  derive?: Derive,
): PreparedGraph {
  const feeders: ExtraFeeds[] = [];
  const inputNamed = (name: string) => base.inputs.find((value) => value.node.attributes.name === name) as Value;
  const edits = clamps.map((bound, i) => ({
    site: bound.site,
    apply: (x: Value) => applyClamp(bound, i, x, inputNamed(decoderInputs.positions), feeders),
  }));
  const edited = edits.length === 0 ? base : spliceAll(base, edits);
  const siteOf = (name: string) => edited.sites.get(name) ?? edited.sites.get(name.replace(/@before$/, ""));
  const outputs = new Map<string, Value>();
  wants.forEach((want, i) => {
    outputs.set(want.name, selectOutput(want, i, siteOf(want.site) as Value, feeders));
  });
  const site = (name: string) => siteOf(name) as Value;
  const lasts = new Map<string, Value>();
  const last = (name: string) => {
    const value = lasts.get(name) ?? lastTokens(site(name), name, feeders);
    lasts.set(name, value);
    return value;
  };
  const derived = derive?.({ site, last, input: inputNamed }) ?? {};
  for (const [name, value] of Object.entries(derived)) outputs.set(name, value);
  const declared = declareInputs(edited, outputs);
  const taken = declared.inputs.find((value) => Object.hasOwn(derived, value.node.attributes.name as string));
  if (taken !== undefined) {
    throw usageError(
      `the output "${taken.node.attributes.name}" has the name of an input of the graph: call it something else`,
    );
  }
  return {
    graph: withOutputs(declared, outputs),
    feeds: (rows, options) =>
      Object.assign({}, ...feeders.map((feed) => feed(rows, options))) as Record<string, Tensor>,
  };
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

function lastTokens(value: Value, site: string, feeders: ExtraFeeds[]): Value {
  if (siteKind(site)?.axes[1] !== "position")
    throw usageError(`${site} has no last token: its positions are not its second dimension`);
  const key = `last of ${site}`;
  feeders.push(({ lengths, columns }) => ({
    [key]: tensorOf(
      "int64",
      [lengths.length],
      lengths.map((_, r) => (r + 1) * columns - 1),
    ),
  }));
  return gatherLeading(value, input(key, "int64", [value.shape[0] as Dim]), 2);
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
  return gatherLeading(value, indices, flattened);
}

/**
 * Entries of the leading `count` dimensions of a value, flattened to one. Products and norms work token by token, so the
 * gather sinks below them: the last position's logits need no other position's.
 */
function gatherLeading(value: Value, indices: Value, count: number): Value {
  const [first, ...others] = value.node.inputs;
  const { operation, attributes } = value.node;
  if (count === 2 && value.shape.length === 3 && first !== undefined) {
    const below = () => gatherLeading(first, indices, count);
    if (operation === "matmul" && others[0]?.shape.length === 2) return product(below(), others[0]);
    if (operation === "rmsNorm") return rmsNorm(below(), others[0] as Value, attributes.epsilon as number);
    if (operation === "layerNorm")
      return layerNorm(below(), others[0] as Value, others[1] as Value, attributes.epsilon as number);
  }
  const rest = value.shape.slice(count);
  return gather(reshape(value, [multiplyDims(...value.shape.slice(0, count)), ...rest]), indices);
}

/** A product with a matrix, for a left side of any rank. */
function product(x: Value, matrix: Value): Value {
  if (x.shape.length >= 2) return matmul(x, matrix);
  return reshape(matmul(reshape(x, [1, ...x.shape]), matrix), [matrix.shape[1] as Dim]);
}

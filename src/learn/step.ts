/**
 * A training step as a function of the graph: a traced loss, its gradients, an optimizer's update. What is traced once is
 * put into the programs that run it: many steps in one call, with recordings in between (see program.ts).
 */
import { usageError } from "../errors.js";
import {
  add,
  cast,
  checkpoint,
  checkpointIn8Bits,
  concat,
  constant,
  constantLike,
  div,
  formatShape,
  type Graph,
  type MarkSite,
  mul,
  pullback,
  reduceMean,
  reshape,
  scan,
  spliceAll,
  substitute,
  trace,
  type Value,
  type ValueType,
  zerosLike,
} from "../graph/index.js";
import { globPattern, type NetworkEdit } from "../model/index.js";
import { type MappedWeights, type Tensor, tensorOf } from "../runtime/index.js";
import { type Clip, clipGradients } from "./clip.js";
import type { Optimizer } from "./optimizer.js";
import { averaged } from "./optimizers/index.js";
import { flatten, type Parameters, rebuild, type Traced } from "./parameters.js";

/** What a loss is given besides parameters and batch. */
export interface StepContext {
  /** Names a value as a site, and returns it: sites can be recorded and clamped in training. */
  readonly site: MarkSite;
  /** A random key of this step's own, int64 [2]: for dropout and noise. */
  readonly key: Value;
  /** The number of the step, from 1: float32 scalar. */
  readonly step: Value;
}

/** A loss with what goes beside it. */
export interface LossResult {
  /** What is minimised: a scalar. */
  readonly loss: Value;
  /** Scalars to watch, by name. */
  readonly metrics?: Readonly<Record<string, Value>>;
  /** The next state, in the structure of the state, where the step has one. */
  readonly state?: object;
}

/** What a step is made of, whatever the structure of its parameters. */
export interface StepOptions {
  /** Types of one step's batch, by name. */
  readonly batch: Readonly<Record<string, ValueType>>;
  readonly optimizer: Optimizer;
  /** Parameters (by path) that stay as they are. None unless given. */
  readonly frozen?: (name: string) => boolean;
  /** Limits of gradients before the optimizer sees them. None unless given. */
  readonly clip?: Clip;
  /** Parts into which a batch is cut along its leading axis; gradients are averaged over them. 1 unless given. */
  readonly accumulate?: number;
  /** Decay of a moving average of the parameters, kept beside them. None unless given. */
  readonly average?: number;
  /** Clamps: sites that have other values in training. */
  readonly edits?: readonly NetworkEdit[];
  /** Names or globs of sites that are kept for the gradient; what follows them is computed again. */
  readonly rematerialise?: string | readonly string[];
  /**
   * As `rematerialise`, and what is kept of these sites is held in 8-bit integers, a scale for each row of the last axis:
   * a quarter of the memory, and gradients of that precision. The forward pass is exact.
   */
  readonly storeIn8Bits?: string | readonly string[];
  /** Values of further weights that the loss reads by `weight(name)`, or the file that they are mapped from. */
  readonly weights?: { readonly values?: ReadonlyMap<string, Tensor>; readonly file?: MappedWeights };
}

export interface StepDefinition<P extends Parameters, S extends Parameters = readonly []> extends StepOptions {
  /** Where training starts from. */
  readonly parameters: P;
  /** The loss of a batch, traced once. */
  readonly loss: (
    parameters: NoInfer<Traced<P>>,
    batch: Readonly<Record<string, Value>>,
    context: StepContext,
    state: NoInfer<Traced<S>>,
  ) => Value | LossResult;
  /** What the forward pass moves and no gradient does: running statistics. */
  readonly state?: S;
}

/** A definition whose structure of parameters is not known to the compiler. */
interface AnyDefinition extends StepOptions {
  readonly parameters: Parameters;
  readonly loss: (
    parameters: unknown,
    batch: Readonly<Record<string, Value>>,
    context: StepContext,
    state: unknown,
  ) => Value | LossResult;
  readonly state?: Parameters;
}

/** All that changes in training, by name: `parameters.*`, `optimizer.*`, `state.*`, `average.*`, and `step`. */
export type TrainingState = ReadonlyMap<string, Tensor>;

/** Values of the graph by name. */
export type Values = ReadonlyMap<string, Value>;

/** What a step makes: the state after it, and what it says of itself. */
export interface Stepped {
  readonly state: Values;
  /** `loss`, `metric.*`, and what was asked for: `site.*`. */
  readonly rows: Values;
  readonly gradients: Values;
}

export interface TrainingStep<P extends Parameters = Parameters> {
  readonly options: StepOptions;
  /** The traced loss with its sites: inputs `parameters.*`, `state.*`, `batch.*`, `key`, `step`. */
  readonly graph: Graph;
  /** The state before the first step. */
  start(): Map<string, Tensor>;
  /** Parameters that are not trained, under their names in the graph. */
  readonly fixed: ReadonlyMap<string, Tensor>;
  /** One step on values of the graph. */
  apply(inputs: StepInputs): Stepped;
  /** The parameters in a state, or their average. */
  parameters(state: TrainingState, which?: "parameters" | "average"): P;
}

/** What one step is applied to. */
export interface StepInputs {
  readonly state: Values;
  /** Parameters that are not trained. */
  readonly fixed: Values;
  readonly batch: Values;
  /** int64 [1]. */
  readonly seed: Value;
  /** Values of the loss graph that become rows, by the row's name. */
  readonly wants?: Values;
}

export const prefixes = { parameters: "parameters.", optimizer: "optimizer.", state: "state.", average: "average." };

/**
 * A training step.
 *
 * @throws where the loss is no scalar, does not depend on a parameter, or `accumulate` does not divide the batch
 */
export function trainingStep<P extends Parameters, S extends Parameters = readonly []>(
  definition: StepDefinition<P, S>,
): TrainingStep<P> {
  const own = definition as unknown as AnyDefinition;
  const graph = editedLoss(own);
  const flat = flatten(own.parameters);
  if (flat.size === 0) throw usageError("there is nothing to train: parameters holds no tensor");
  const trained = [...flat.keys()].filter((name) => own.frozen?.(name) !== true);
  if (trained.length === 0) throw usageError("there is nothing to train: every parameter is frozen");
  checkReached(graph, trained);
  return {
    options: own,
    graph,
    fixed: new Map(
      [...flat].filter(([name]) => !trained.includes(name)).map(([name, x]) => [prefixes.parameters + name, x]),
    ),
    start: () => startOf(own, flat, trained),
    apply: (inputs) => applyStep(own, graph, trained, inputs),
    parameters: (state, which = "parameters") =>
      rebuild(
        definition.parameters as unknown,
        new Map([...flat].map(([name, first]) => [name, state.get(prefixes[which] + name) ?? first])),
      ) as P,
  };
}

const typeOf = ({ dtype, shape }: ValueType): ValueType => ({ dtype, shape });
const prefixed = <T>(prefix: string, map: Iterable<readonly [string, T]>) =>
  new Map([...map].map(([name, value]) => [prefix + name, value] as const));

/** The entries of a map whose names start with a prefix, without it. */
export function unprefixed<T>(prefix: string, map: ReadonlyMap<string, T>): Map<string, T> {
  return new Map(
    [...map].flatMap(([name, value]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), value] as const] : [])),
  );
}

/** Types of one part of a batch. */
function partTypes({ batch, accumulate = 1 }: Pick<StepOptions, "batch" | "accumulate">) {
  if (!Number.isInteger(accumulate) || accumulate < 1)
    throw usageError(`accumulate must be a whole number of at least 1, not ${accumulate}`);
  if (accumulate === 1) return batch;
  return Object.fromEntries(
    Object.entries(batch).map(([name, { dtype, shape }]) => {
      const [rows, ...rest] = shape;
      if (typeof rows === "number" && rows % accumulate === 0)
        return [name, { dtype, shape: [rows / accumulate, ...rest] }];
      throw usageError(
        `accumulate cuts the leading axis of the batch into ${accumulate} parts; "${name}" has shape ${formatShape(shape)}`,
      );
    }),
  );
}

function editedLoss(definition: AnyDefinition): Graph {
  const { parameters, state = [], edits = [], rematerialise = [], storeIn8Bits = [] } = definition;
  const [flat, flatState] = [flatten(parameters), flatten(state)];
  const types: Record<string, ValueType> = Object.fromEntries([
    ...prefixed(
      prefixes.parameters,
      [...flat].map(([name, tensor]) => [name, typeOf(tensor)] as const),
    ),
    ...prefixed(
      prefixes.state,
      [...flatState].map(([name, tensor]) => [name, typeOf(tensor)] as const),
    ),
    ...prefixed("batch.", Object.entries(partTypes(definition))),
    ["key", { dtype: "int64", shape: [2] }],
    ["step", { dtype: "float32", shape: [] }],
  ]);
  const graph = trace((values, site) => {
    const all = new Map(Object.entries(values));
    const made = definition.loss(
      rebuild(parameters as unknown, unprefixed(prefixes.parameters, all)),
      Object.fromEntries(unprefixed("batch.", all)),
      { site, key: values.key as Value, step: values.step as Value },
      rebuild(state as unknown, unprefixed(prefixes.state, all)),
    );
    return lossOutputs(isValue(made) ? { loss: made } : made, flatState);
  }, types);
  const expanded = [
    ...edits,
    ...[rematerialise].flat().map((site) => ({ site, apply: checkpoint })),
    ...[storeIn8Bits].flat().map((site) => ({ site, apply: (x: Value) => checkpointIn8Bits(x) })),
  ].flatMap(({ site, apply }) => sitesMatching(graph, site).map((name) => ({ site: name, apply })));
  return expanded.length === 0 ? graph : spliceAll(graph, expanded);
}

const isValue = (made: object): made is Value => "node" in made;

function lossOutputs(result: LossResult, state: ReadonlyMap<string, Tensor>): Record<string, Value> {
  const { loss, metrics = {} } = result;
  if (loss.shape.length > 0 || loss.dtype !== "float32")
    throw usageError(
      `a loss is one float32 number; this is ${loss.dtype}${formatShape(loss.shape)}: reduce it (reduceMean)`,
    );
  const odd = Object.entries(metrics).find(([, { shape }]) => shape.length > 0);
  if (odd !== undefined)
    throw usageError(
      `the metric "${odd[0]}" has shape ${formatShape(odd[1].shape)}: metrics are scalars (record a site for more)`,
    );
  const next = result.state === undefined ? new Map<string, Value>() : valuesOf(result.state);
  for (const [name, { dtype, shape }] of state) {
    const value = next.get(name);
    if (value !== undefined && value.dtype === dtype && value.shape.join() === shape.join()) continue;
    throw usageError(`the loss must return the next state "${name}" as ${dtype}${formatShape(shape)}`);
  }
  return Object.fromEntries([
    ["loss", loss],
    ...prefixed("metric.", Object.entries(metrics)),
    ...prefixed("next.", next),
  ]);
}

function valuesOf(tree: unknown, prefix = ""): Map<string, Value> {
  if (typeof tree !== "object" || tree === null) return new Map();
  if ("node" in tree) return new Map([[prefix, tree as Value]]);
  const entries = Object.entries(tree).map(([key, part]) => [prefix === "" ? key : `${prefix}.${key}`, part] as const);
  return new Map(entries.flatMap(([path, part]) => [...valuesOf(part, path)]));
}

/** Names of sites of the loss that a name or glob stands for. */
export function sitesMatching(graph: Graph, pattern: string): string[] {
  const matches = globPattern(pattern);
  const names = [...graph.sites.keys()].filter((name) => matches.test(name));
  if (names.length > 0) return names;
  throw usageError(`training has no site "${pattern}"; it has ${[...graph.sites.keys()].join(", ") || "none"}`);
}

function checkReached(graph: Graph, trained: readonly string[]): void {
  const inputs = new Map(graph.inputs.map((value) => [value.node.attributes.name as string, value]));
  const loss = graph.outputs.get("loss") as Value;
  const at = trained.map((name) => inputs.get(prefixes.parameters + name));
  const found = pullback(
    new Map([[loss, constantLike(loss, 1)]]),
    at.filter((value) => value !== undefined),
    { recompute: false },
  );
  let next = 0;
  const lost = trained.filter((_, i) => at[i] === undefined || found[next++] === undefined);
  if (lost.length > 0)
    throw usageError(`the loss does not depend on ${lost.join(", ")}: freeze what is not trained, or leave it out`);
}

function startOf(
  { optimizer, state = [], average }: AnyDefinition,
  flat: ReadonlyMap<string, Tensor<"float32">>,
  trained: readonly string[],
): Map<string, Tensor> {
  const own = new Map(trained.map((name) => [name, flat.get(name) as Tensor<"float32">]));
  return new Map<string, Tensor>([
    ...prefixed(prefixes.parameters, own),
    ...prefixed(prefixes.optimizer, optimizer.start(own)),
    ...prefixed(prefixes.state, flatten(state)),
    ...(average === undefined ? [] : prefixed(prefixes.average, own)),
    ["step", tensorOf("float32", [], [0])],
  ]);
}

function applyStep(
  definition: AnyDefinition,
  graph: Graph,
  trained: readonly string[],
  { state, fixed, batch, seed, wants = new Map() }: StepInputs,
): Stepped {
  const { optimizer, clip, average } = definition;
  const step = add(state.get("step") as Value, 1);
  const own = new Map(trained.map((name) => [name, state.get(prefixes.parameters + name) as Value]));
  const key = concat([seed, reshape(cast(step, "int64"), [1])], 0);
  const made = accumulated(definition, graph, own, {
    fixed: new Map([...fixed, ...prefixed(prefixes.parameters, own)]),
    key,
    step,
    batch,
    state,
    wants,
  });
  const limited = clip === undefined ? undefined : clipGradients(made.gradients, clip);
  const gradients = limited?.gradients ?? made.gradients;
  const next = optimizer.update({
    parameters: own,
    gradients,
    state: unprefixed(prefixes.optimizer, state),
    step,
  });
  const averages = average === undefined ? [] : averaged(average)(unprefixed(prefixes.average, state), next.parameters);
  return {
    state: new Map([
      ...prefixed(prefixes.parameters, next.parameters),
      ...prefixed(prefixes.optimizer, next.state),
      ...prefixed(prefixes.state, made.state),
      ...prefixed(prefixes.average, averages),
      ["step", step],
    ]),
    rows: new Map([
      ...made.rows,
      ...(limited === undefined ? [] : [["metric.gradientNorm", limited.norm] as const]),
      ...made.wanted,
    ]),
    gradients,
  };
}

interface PartInputs {
  readonly fixed: Values;
  readonly key: Value;
  readonly step: Value;
  readonly batch: Values;
  readonly state: Values;
  readonly wants: Values;
}

interface Part {
  /** `loss` and `metric.*`. */
  readonly rows: Values;
  readonly state: Values;
  readonly wanted: Values;
  readonly gradients: Values;
}

/** The loss and its gradients on one part of a batch. */
function part(graph: Graph, own: Values, { fixed, key, step, batch, state, wants }: PartInputs): Part {
  const given = new Map<string, Value>([
    ...fixed,
    ...[...state].filter(([name]) => name.startsWith(prefixes.state)),
    ...prefixed("batch.", batch),
    ["key", key],
    ["step", step],
  ]);
  const inputs = graph.inputs.flatMap((value) => {
    const other = given.get(value.node.attributes.name as string);
    return other === undefined ? [] : [[value, other] as const]; // weights are inputs too, and stay
  });
  const names = [...graph.outputs.keys(), ...wants.keys()];
  const made = substitute([...graph.outputs.values(), ...wants.values()], new Map(inputs));
  const values = new Map(names.map((name, i) => [name, made[i] as Value]));
  const loss = values.get("loss") as Value;
  const found = pullback(new Map([[loss, constantLike(loss, 1)]]), [...own.values()]);
  return {
    rows: new Map([...values].filter(([name]) => name === "loss" || name.startsWith("metric."))),
    state: unprefixed("next.", new Map([...graph.outputs.keys()].map((name) => [name, values.get(name) as Value]))),
    wanted: new Map([...wants.keys()].map((name) => [name, values.get(name) as Value])),
    gradients: new Map([...own.keys()].map((name, i) => [name, found[i] as Value])),
  };
}

/** As `part`, over the parts of a batch one after the other, gradients and rows averaged. */
function accumulated(
  { accumulate = 1 }: Pick<StepOptions, "accumulate">,
  graph: Graph,
  own: Values,
  inputs: PartInputs,
): Part {
  if (accumulate === 1) return part(graph, own, inputs);
  const cut = Object.fromEntries(
    [...inputs.batch].map(([name, x]) => {
      const [rows, ...rest] = x.shape;
      return [name, reshape(x, [accumulate, (rows as number) / accumulate, ...rest])];
    }),
  );
  const states = Object.fromEntries([...inputs.state].filter(([name]) => name.startsWith(prefixes.state)));
  const sums = Object.fromEntries([...own].map(([name, x]) => [name, zerosLike(x)]));
  const first = constantLike(inputs.step, 0);
  const { carry, outputs } = scan(
    ({ sums: before, states: current, at }, slices) => {
      const key = partKey(inputs.key, at);
      const made = part(graph, own, {
        ...inputs,
        key,
        batch: new Map(Object.entries(slices)),
        state: new Map(Object.entries(current)),
      });
      return {
        carry: {
          sums: Object.fromEntries([...made.gradients].map(([name, g]) => [name, add(before[name] as Value, g)])),
          states: Object.fromEntries(prefixed(prefixes.state, made.state)),
          at: add(at, 1),
        },
        outputs: Object.fromEntries([...made.rows, ...made.wanted]),
      };
    },
    { carry: { sums, states, at: first }, sequences: cut },
  );
  const rows = new Map(Object.entries<Value>(outputs));
  const isRow = (name: string) => name === "loss" || name.startsWith("metric.");
  return {
    rows: new Map([...rows].filter(([name]) => isRow(name)).map(([name, x]) => [name, reduceMean(x, [0])])),
    wanted: new Map([...rows].filter(([name]) => !isRow(name))),
    state: unprefixed(prefixes.state, new Map(Object.entries(carry.states))),
    gradients: new Map(Object.entries(carry.sums).map(([name, sum]) => [name, div(sum, accumulate)])),
  };
}

/** A key of its own for each part: step and part together stay below 2^32 for 2^24 steps of 256 parts. */
function partKey(key: Value, part: Value): Value {
  const offset = concat([constant(tensorOf("int64", [1], [0])), reshape(cast(mul(part, 2 ** 24), "int64"), [1])], 0);
  return add(key, offset);
}

/**
 * The programs that run training steps: many in one call, as a scan whose carry is the state. The plain one makes steps
 * alone; the recording one makes groups of them, the first of which also gives the sites that are recorded.
 */
import { usageError } from "../errors.js";
import {
  concat,
  type Dim,
  input,
  inputsOf,
  reshape,
  scan,
  select,
  simplify,
  slice,
  substitute,
  type Value,
  type ValueType,
} from "../graph/index.js";
import { type Program, type Runtime, type Tensor, tensorOf } from "../runtime/index.js";
import { type TrainingState, type TrainingStep, unprefixed, type Values } from "./step.js";

/** Steps in one call: the state after them, `loss` and `metric.*` for each step, `site.*` for each group. */
export type StepsProgram = (call: {
  readonly state: TrainingState;
  /** Batches of the steps, stacked along a leading axis (two, for groups). */
  readonly batches: Readonly<Record<string, Tensor>>;
  readonly seed: number;
}) => Promise<{ readonly state: Map<string, Tensor>; readonly rows: Map<string, Tensor> }>;

/** What is recorded in training. */
export interface RecordedValues {
  /** Values of the loss graph, by the name of the row that they become. */
  readonly values: Values;
  /** A batch to read them in, always the same; the step's own unless given. */
  readonly probe?: Readonly<Record<string, Tensor>>;
}

type Named = Readonly<Record<string, Value>>;

interface Inputs {
  readonly state: Named;
  readonly fixed: Named;
  readonly seed: Value;
  /** Sequences of batches. */
  readonly batch: Named;
  readonly probe: Named;
}

/** A program of steps one after the other. */
export function plainProgram(step: TrainingStep, runtime: Runtime): StepsProgram {
  return compileSteps(step, runtime, ["steps"], {}, (inputs) => {
    const { carry, outputs } = manySteps(step, inputs, inputs.state, inputs.batch);
    return { state: carry, rows: outputs };
  });
}

/** A program of groups of `every` steps. What is recorded is read in the first of each, before its update. */
export function recordingProgram(
  step: TrainingStep,
  runtime: Runtime,
  { values, probe }: RecordedValues,
  every: number,
): StepsProgram {
  return compileSteps(step, runtime, ["groups", every], probe ?? {}, (inputs) => {
    const { carry, outputs } = scan<Named, Named, { rows: Named; sites: Named }>(
      (state, batches) => {
        const first = mapValues(batches, (x) => select(x, 0, 0));
        const made = oneStep(step, inputs, state, first, probe === undefined ? values : new Map());
        const own = mapValues(made.rows, (x) => reshape(x, [1]));
        const sites = probe === undefined ? made.wanted : readProbe(step, values, inputs, state);
        if (every === 1) return { carry: made.state, outputs: { rows: own, sites } };
        const rest = manySteps(
          step,
          inputs,
          made.state,
          mapValues(batches, (x) => slice(x, 0, 1)),
        );
        const rows = mapValues(own, (x, name) => concat([x, rest.outputs[name] as Value], 0));
        return { carry: rest.carry, outputs: { rows, sites } };
      },
      { carry: inputs.state, sequences: inputs.batch },
    );
    return { state: carry, rows: { ...outputs.rows, ...outputs.sites } };
  });
}

function mapValues(named: Named, change: (x: Value, name: string) => Value): Named {
  return Object.fromEntries(Object.entries(named).map(([name, x]) => [name, change(x, name)]));
}

function oneStep(step: TrainingStep, inputs: Inputs, state: Named, batch: Named, wants: Values = new Map()) {
  const made = step.apply({
    state: mapOf(state),
    fixed: mapOf(inputs.fixed),
    batch: mapOf(batch),
    seed: inputs.seed,
    wants,
  });
  const rows = [...made.rows].filter(([name]) => !wants.has(name));
  const wanted = [...made.rows].filter(([name]) => wants.has(name));
  return {
    state: Object.fromEntries(made.state),
    rows: Object.fromEntries(rows),
    wanted: Object.fromEntries(wanted),
  };
}

function manySteps(step: TrainingStep, inputs: Inputs, state: Named, batches: Named) {
  return scan<Named, Named, Named>(
    (carry, batch) => {
      const made = oneStep(step, inputs, carry, batch);
      return { carry: made.state, outputs: made.rows };
    },
    { carry: state, sequences: batches },
  );
}

/** Values of the loss graph in the probe, with the parameters of a state. */
function readProbe(step: TrainingStep, values: Values, inputs: Inputs, state: Named): Named {
  const given = new Map<string, Value>([
    ...Object.entries(inputs.fixed),
    ...Object.entries(state),
    ...Object.entries(inputs.probe).map(([name, x]) => [`batch.${name}`, x] as const),
    ["key", concat([inputs.seed, inputs.seed], 0)],
  ]);
  const replaced = new Map(
    step.graph.inputs.flatMap((value) => {
      const other = given.get(value.node.attributes.name as string);
      return other === undefined ? [] : [[value, other] as const];
    }),
  );
  const made = substitute([...values.values()], replaced);
  return Object.fromEntries([...values.keys()].map((name, i) => [name, made[i] as Value]));
}

const mapOf = <T>(record: Readonly<Record<string, T>>) => new Map(Object.entries(record));
const typeOf = ({ dtype, shape }: ValueType): ValueType => ({ dtype, shape });

/** Compiles outputs made with a step; weights that its loss reads come from where the step says. */
export function compileOutputs(
  { options }: TrainingStep,
  runtime: Runtime,
  outputs: ReadonlyMap<string, Value>,
): Program {
  const graph = simplify({ inputs: inputsOf(outputs.values()), outputs, sites: new Map() });
  const { values, file } = options.weights ?? {};
  return runtime.compile(graph, {
    weights: file === undefined ? "fed" : "mapped",
    ...(file === undefined ? {} : { file }),
    ...(values === undefined ? {} : { values }),
  });
}

/** Names of the inputs: those of the state as they are, batches as `batch.*`, the probe as `probe.*`. */
function compileSteps(
  step: TrainingStep,
  runtime: Runtime,
  leading: readonly Dim[],
  probe: Readonly<Record<string, Tensor>>,
  build: (inputs: Inputs) => { state: Named; rows: Named },
): StepsProgram {
  const make = (types: Iterable<readonly [string, ValueType]>) =>
    Object.fromEntries([...types].map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]));
  const named = (prefix: string, types: Readonly<Record<string, ValueType>>, axes: readonly Dim[]): Named =>
    Object.fromEntries(
      Object.entries(types).map(([name, { dtype, shape }]) => [
        name,
        input(`${prefix}.${name}`, dtype, [...axes, ...shape]),
      ]),
    );
  const inputs: Inputs = {
    state: make([...step.start()].map(([name, x]) => [name, typeOf(x)])),
    fixed: make([...step.fixed].map(([name, x]) => [name, typeOf(x)])),
    seed: input("seed", "int64", [1]),
    batch: named("batch", step.options.batch, leading),
    probe: named("probe", Object.fromEntries(Object.entries(probe).map(([name, x]) => [name, typeOf(x)])), []),
  };
  const { state, rows } = build(inputs);
  const outputs = new Map([
    ...Object.entries(state).map(([name, x]) => [`next.${name}`, x] as const),
    ...Object.entries(rows).map(([name, x]) => [`row.${name}`, x] as const),
  ]);
  const program = compileOutputs(step, runtime, outputs);
  const constants = [...step.fixed, ...Object.entries(probe).map(([name, x]) => [`probe.${name}`, x] as const)];
  return async ({ state: given, batches, seed }) => {
    const feeds = Object.fromEntries([
      ...constants,
      ...given,
      ["seed", tensorOf("int64", [1], [seed])],
      ...Object.entries(batches).map(([name, x]) => [`batch.${name}`, x] as const),
    ]);
    const made = mapOf(await program.run(feeds));
    return { state: unprefixed("next.", made), rows: unprefixed("row.", made) };
  };
}

/** Batches of several steps along new leading axes. Throws where one is not of the type that the step was made for. */
export function stackBatches(
  types: Readonly<Record<string, ValueType>>,
  batches: readonly Readonly<Record<string, Tensor>>[],
  { first, leading }: { readonly first: number; readonly leading: readonly number[] },
): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(types).map(([name, type]) => {
      const parts = batches.map((batch, i) => checkedPart(batch, name, type, first + i));
      const [one] = parts as [Tensor, ...Tensor[]];
      const length = one.data.length;
      const data = new (one.data.constructor as new (count: number) => Tensor["data"])(length * parts.length);
      parts.forEach((part, i) => {
        if (part.data.length !== length)
          throw usageError(`batch ${first + i}: "${name}" has another size than in the step before`);
        (data as Float32Array).set(part.data as Float32Array, i * length);
      });
      return [name, { dtype: one.dtype, shape: [...leading, ...one.shape], data } as Tensor];
    }),
  );
}

function checkedPart(batch: Readonly<Record<string, Tensor>>, name: string, type: ValueType, step: number): Tensor {
  const part = batch[name];
  const wanted = `${type.dtype}[${type.shape.join(", ")}]`;
  if (part === undefined)
    throw usageError(`the batch of step ${step} has no "${name}" (${wanted}); it has ${Object.keys(batch).join(", ")}`);
  const fits =
    part.dtype === type.dtype &&
    part.shape.length === type.shape.length &&
    part.shape.every((size, i) => typeof type.shape[i] === "string" || size === type.shape[i]);
  if (fits) return part;
  throw usageError(
    `the batch of step ${step}: "${name}" is ${part.dtype}[${part.shape.join(", ")}]; the step was made for ${wanted}`,
  );
}

/** When training leaves the finite numbers: the step and the first value that did. */
import { input, isFloat, mul, reduceSum, type Value, type ValueType } from "../graph/index.js";
import { type Runtime, type Tensor, tensorOf } from "../runtime/index.js";
import { compileOutputs, type StepsProgram, stackBatches } from "./program.js";
import type { TrainingState, TrainingStep } from "./step.js";

/** What became not finite first, in the order in which a step computes. */
export interface Divergence {
  /** The number of the step, from 1. */
  readonly step: number;
  /** A batch's entry, a parameter, a site, the loss, a gradient, or the state after the step; undefined where a repetition stayed finite. */
  readonly where: string | undefined;
}

/** Whether every number of a state is finite. */
export function isFiniteState(state: TrainingState): boolean {
  return [...state.values()].every(isFiniteTensor);
}

/** x * 0 is 0 for finite numbers and NaN for others. */
export function isFiniteTensor({ dtype, data }: Tensor): boolean {
  if (dtype !== "float32" && dtype !== "float64") return true;
  let sum = 0;
  for (const x of data as Float32Array) sum += x * 0;
  return sum === 0;
}

/** Repeats steps one by one from a state that was finite, and looks for the first value that is not. */
export async function findDivergence(
  step: TrainingStep,
  runtime: Runtime,
  plain: StepsProgram,
  {
    state,
    batches,
    seed,
  }: {
    readonly state: TrainingState;
    readonly batches: readonly Readonly<Record<string, Tensor>>[];
    readonly seed: number;
  },
): Promise<Divergence> {
  const watch = watchProgram(step, runtime);
  const first = Number(state.get("step")?.data[0] ?? 0);
  let current: TrainingState = state;
  for (const [i, batch] of batches.entries()) {
    const where = await watch(current, batch, seed);
    if (where !== undefined) return { step: first + i + 1, where };
    const stacked = stackBatches(step.options.batch, [batch], { first: first + i, leading: [1] });
    current = (await plain({ state: current, batches: stacked, seed })).state;
  }
  return { step: first + batches.length, where: undefined };
}

/** A step whose outputs are one number for each value: 0 where all of it is finite. */
function watchProgram(step: TrainingStep, runtime: Runtime) {
  const typed = (prefix: string, entries: Iterable<readonly [string, ValueType]>) =>
    new Map([...entries].map(([name, { dtype, shape }]) => [name, input(prefix + name, dtype, shape)]));
  const state = typed("", step.start());
  const batch = typed("batch.", Object.entries(step.options.batch));
  const sites = new Map([...step.graph.sites].map(([name, value]) => [`site ${name}`, value]));
  const made = step.apply({
    state,
    fixed: typed("", step.fixed),
    batch,
    seed: input("seed", "int64", [1]),
    wants: sites,
  });
  const watched: (readonly [string, Value])[] = [
    ...[...batch].map(([name, x]) => [`the batch's "${name}"`, x] as const),
    ...[...state].map(([name, x]) => [`${name}, before the step`, x] as const),
    ...[...sites.keys()].map((name) => [name, made.rows.get(name) as Value] as const),
    ["the loss", made.rows.get("loss") as Value],
    ...[...made.gradients].reverse().map(([name, x]) => [`the gradient of ${name}`, x] as const),
    ...[...made.state].map(([name, x]) => [`${name}, after the step`, x] as const),
  ];
  const floats = watched.filter(([, { dtype }]) => isFloat(dtype));
  const outputs = new Map(
    floats.map(
      ([name, x]) =>
        [
          `watch ${name}`,
          reduceSum(
            mul(x, 0),
            x.shape.map((_, i) => i),
          ),
        ] as const,
    ),
  );
  const program = compileOutputs(step, runtime, outputs);
  return async (current: TrainingState, own: Readonly<Record<string, Tensor>>, seed: number) => {
    const results = await program.run({
      ...Object.fromEntries(step.fixed),
      ...Object.fromEntries(current),
      ...Object.fromEntries(Object.entries(own).map(([name, x]) => [`batch.${name}`, x])),
      seed: tensorOf("int64", [1], [seed]),
    });
    return floats.map(([name]) => name).find((name) => results[`watch ${name}`]?.data[0] !== 0);
  };
}

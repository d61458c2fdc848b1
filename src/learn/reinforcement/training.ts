/** Training steps between acting: many in one call, their numbers checked and averaged. */
import { failure } from "../../errors.js";
import type { MarkSite, Value } from "../../graph/index.js";
import { type Runtime, row, type Tensor } from "../../runtime/index.js";
import { findDivergence, isFiniteState } from "../divergence.js";
import type { Parameters } from "../parameters.js";
import { plainProgram } from "../program.js";
import {
  type LossResult,
  type StepContext,
  type StepOptions,
  type TrainingState,
  type TrainingStep,
  trainingStep,
  unprefixed,
} from "../step.js";
import type { PolicyOutput } from "./policy.js";

/** What a step learns, written without the structure of its parameters, which generic code does not know. */
export interface PlainDefinition<P extends Parameters> extends StepOptions {
  readonly parameters: P;
  readonly loss: (
    own: unknown,
    batch: Readonly<Record<string, Value>>,
    context: StepContext,
    state: unknown,
  ) => LossResult;
  readonly state?: Parameters;
}

/** The training step of such a definition. */
export const plainStep: <P extends Parameters>(definition: PlainDefinition<P>) => TrainingStep<P> =
  trainingStep as never;

/** A policy written likewise. */
export type PlainPolicy = (own: unknown, observations: Value, site: MarkSite) => PolicyOutput;

/** A training step with its state. */
export interface Trainer {
  /** The parameters as they are now, by path. */
  parameters(): ReadonlyMap<string, Tensor>;
  state(): TrainingState;
  /**
   * Makes as many steps as the batches are long; returns `loss` and metrics, averaged over them.
   *
   * @throws where a number stops being finite: the error says at which step and where
   */
  train(batches: Readonly<Record<string, Tensor>>): Promise<Record<string, number>>;
}

/** A trainer at the start of training. */
export function trainerOf<P extends Parameters>(given: TrainingStep<P>, runtime: Runtime, seed: number): Trainer {
  const step = given as unknown as TrainingStep;
  const program = plainProgram(step, runtime);
  const fixed = unprefixed("parameters.", step.fixed);
  let state: TrainingState = step.start();
  return {
    parameters: () => new Map([...fixed, ...unprefixed("parameters.", state)]),
    state: () => state,
    async train(batches) {
      const made = await program({ state, batches, seed });
      if (!isFiniteState(made.state)) {
        const found = await findDivergence(step, runtime, program, { state, batches: apart(batches), seed });
        throw failure(
          `training left the finite numbers at step ${found.step}: the first is ${found.where ?? "not found again"}; ` +
            "lower the learning rate, or clip gradients",
        );
      }
      state = made.state;
      return Object.fromEntries(
        [...made.rows].map(([name, { data }]) => [name.replace(/^metric\./, ""), meanOf(data as Float32Array)]),
      );
    },
  };
}

/** Stacked batches one by one. */
function apart(batches: Readonly<Record<string, Tensor>>): Record<string, Tensor>[] {
  const count = Object.values(batches)[0]?.shape[0] ?? 0;
  return Array.from({ length: count }, (_, i) =>
    Object.fromEntries(Object.entries(batches).map(([name, x]) => [name, row(x, i)])),
  );
}

const meanOf = (values: Float32Array) => values.reduce((a, b) => a + b, 0) / values.length;

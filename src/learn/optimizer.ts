/** What an optimizer is: the state that it starts with, and one traced step over parameters by name. */
import type { Value } from "../graph/index.js";
import type { Tensor } from "../runtime/index.js";

/** What one step of an optimizer reads. */
export interface Update {
  readonly parameters: ReadonlyMap<string, Value>;
  readonly gradients: ReadonlyMap<string, Value>;
  /** The optimizer's own state, under the names that it gave. */
  readonly state: ReadonlyMap<string, Value>;
  /** The number of this step, from 1: float32 scalar. */
  readonly step: Value;
}

/** Parameters and state after a step, under the same names. */
export interface Updated {
  readonly parameters: ReadonlyMap<string, Value>;
  readonly state: ReadonlyMap<string, Value>;
}

export interface Optimizer {
  readonly name: string;
  /** The state before the first step, by name, for parameters by name. */
  start(parameters: ReadonlyMap<string, Tensor<"float32">>): Map<string, Tensor>;
  /** One step as a traced function. */
  update(context: Update): Updated;
}

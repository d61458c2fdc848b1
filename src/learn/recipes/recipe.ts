/** What a recipe is: data, a network and a way to measure it, ready to be trained, recorded and clamped. */
import type { Batches } from "../../data/index.js";
import type { Runtime } from "../../runtime/index.js";
import type { SourceOptions } from "../../sources/index.js";
import type { Parameters } from "../parameters.js";
import type { TrainingStep } from "../step.js";

export interface RecipeOptions extends SourceOptions {
  /** Seed of first values and of data; 0 unless given. */
  readonly seed?: number;
  /** Steps, for schedules that end with them; the recipe's own number unless given. */
  readonly steps?: number;
}

/** A recipe made ready. */
export interface PreparedRecipe<P extends Parameters = Parameters> {
  readonly step: TrainingStep<P>;
  readonly batches: Batches;
  readonly steps: number;
  /** Numbers on examples that training never sees, by name. */
  readonly measure: (parameters: P, runtime: Runtime) => Promise<Readonly<Record<string, number>>>;
}

export interface Recipe<P extends Parameters = Parameters> {
  readonly name: string;
  readonly title: string;
  readonly prepare: (options?: RecipeOptions) => Promise<PreparedRecipe<P>>;
}

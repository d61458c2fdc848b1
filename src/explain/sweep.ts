/**
 * A sweep: the same prompt many times, in each run another part of one site replaced. A run is a row of a batch; which
 * part it replaces is a weight of zeros and ones at every site of the sweep, fed to the graph. So one compiled graph
 * serves all runs, whichever site they touch.
 */
import { setImmediate } from "node:timers/promises";
import { usageError } from "../errors.js";
import type { Value } from "../graph/index.js";
import { blend, type ComputeContext, type Model, type Recording } from "../model/index.js";
import { elementCount, row, type Tensor, zeros } from "../runtime/index.js";

export interface SweepOptions {
  /** Most tokens in a batch, unless one prompt has more; 256 unless given. */
  readonly batchTokens?: number;
  /** Called after each batch with the runs done so far. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Stops the sweep between two batches. */
  readonly signal?: AbortSignal;
}

/** One run: at `site`, the places that `mark` sets to 1 take the source's values. */
export interface SweepRun {
  readonly site: string;
  readonly mark: (weights: Float32Array) => void;
}

export interface Sweep {
  /** Token ids of the prompt. */
  readonly ids: readonly number[];
  /** One row with the values that replaced parts take, for every site of the sweep. */
  readonly source: Recording;
  /** By site, the shape of what a run marks: the site's for one row, or 1 where no run selects along a dimension. */
  readonly marks: ReadonlyMap<string, readonly number[]>;
  readonly runs: readonly SweepRun[];
  /** What is measured of each row: outputs [batch, ...] by name. */
  readonly measure: (context: ComputeContext, inputs: Readonly<Record<string, Value>>) => Record<string, Value>;
  /** Further inputs of `measure`. */
  readonly inputs?: Readonly<Record<string, Tensor>>;
}

/** The measurements of every run, in the order of the runs, without the batch dimension. */
export function sweep(model: Model, plan: Sweep, options: SweepOptions): Promise<Record<string, Tensor>[]> {
  return inBatches(plan.runs, plan.ids.length, options, (batch) => runBatch(model, plan, batch));
}

/** What `runBatch` returns of every run, a row each, in batches of one size of prompts of `length` tokens. */
export async function inBatches<Run>(
  runs: readonly Run[],
  length: number,
  options: SweepOptions,
  runBatch: (batch: readonly Run[]) => Promise<Record<string, Tensor>>,
): Promise<Record<string, Tensor>[]> {
  const results: Record<string, Tensor>[] = [];
  for (const batch of equalBatches(runs, rowsPerBatch(length, options))) {
    options.signal?.throwIfAborted();
    const outputs = Object.entries(await runBatch(batch));
    const wanted = Math.min(batch.length, runs.length - results.length);
    for (let r = 0; r < wanted; r++)
      results.push(Object.fromEntries(outputs.map(([name, value]) => [name, row(value, r)])));
    options.onProgress?.(results.length, runs.length);
    await setImmediate(); // the runtime blocks while it runs: let progress show and Ctrl-C arrive
  }
  return results;
}

function runBatch(model: Model, plan: Sweep, batch: readonly SweepRun[]): Promise<Record<string, Tensor>> {
  const clamps = [...plan.marks].map(([site, shape]) => {
    const weights = zeros("float32", [batch.length, ...shape.slice(1)]);
    const size = elementCount(shape);
    batch.forEach((run, r) => {
      if (run.site === site) run.mark(weights.data.subarray(r * size, (r + 1) * size));
    });
    return blend(site, plan.source, weights);
  });
  const prompts = batch.map(() => plan.ids);
  return model.with(...clamps).compute(prompts, plan.measure, { inputs: plan.inputs ?? {} });
}

/** Batches of one size, because a batch of one row is another graph; the last is filled up with its last run again. */
function equalBatches<Run>(runs: readonly Run[], most: number): Run[][] {
  const count = Math.ceil(runs.length / most);
  const size = Math.ceil(runs.length / count);
  return Array.from({ length: count }, (_, i) =>
    Array.from({ length: size }, (_, j) => runs[Math.min(i * size + j, runs.length - 1)] as Run),
  );
}

/** How many prompts of `length` tokens a batch takes, at least one. Throws where `batchTokens` is no number of tokens. */
export function rowsPerBatch(length: number, { batchTokens = 256 }: SweepOptions): number {
  if (!Number.isInteger(batchTokens) || batchTokens < 1)
    throw usageError(`batchTokens must be a whole number of at least 1, not ${batchTokens}`);
  return Math.max(1, Math.floor(batchTokens / length));
}

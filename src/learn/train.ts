/**
 * Training: steps in calls short enough that progress shows and Ctrl-C works, checkpoints from which a run goes on bit for
 * bit, and sites recorded at chosen steps. A batch is a function of the step's number, so that a resumed run sees the same
 * data; how many steps a call holds changes no number.
 */
import { setImmediate } from "node:timers/promises";
import { failure, messageOf, usageError } from "../errors.js";
import { createRuntime, type Runtime, type Tensor } from "../runtime/index.js";
import {
  type CheckpointOptions,
  readCheckpoint,
  readPieces,
  signatureOf,
  writeCheckpoint,
  writePiece,
} from "./checkpoint.js";
import { findDivergence, isFiniteState, isFiniteTensor } from "./divergence.js";
import { appendHistory, type History } from "./history.js";
import type { Parameters } from "./parameters.js";
import { plainProgram, recordingProgram, type StepsProgram, stackBatches } from "./program.js";
import {
  checkRecord,
  type Gathering,
  gatherRows,
  nextRecord,
  type RecordInTraining,
  recordedValues,
  type TrainingRecording,
} from "./recordSites.js";
import { type TrainingState, type TrainingStep, unprefixed } from "./step.js";

/** The batch of a step (from 0), by name. It must be a function of the number alone. */
export type BatchOf = (step: number) => Readonly<Record<string, Tensor>> | Promise<Readonly<Record<string, Tensor>>>;

/** What is told of each step. */
export interface StepEvent {
  /** Steps made so far, this one included. */
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly stepsPerSecond: number;
  readonly secondsLeft: number;
}

export interface TrainOptions<P extends Parameters = Parameters> {
  /** Steps in all, those before a checkpoint included. */
  readonly steps: number;
  /** Seed of everything random inside the step; 0 unless given. */
  readonly seed?: number;
  /** Where a run's state is kept. A run goes on from the newest checkpoint in the folder. None unless given. */
  readonly checkpoint?: CheckpointOptions;
  readonly record?: RecordInTraining;
  /** Numbers measured every so many steps (and after the last), kept in the history as `validation.*`. */
  readonly validate?: {
    readonly every: number;
    readonly run: (parameters: P, step: number) => Promise<Readonly<Record<string, number>>>;
  };
  readonly onStep?: (event: StepEvent) => void;
  /** Stops after the call that runs: the result says so, and a checkpoint is written where there is a folder for it. */
  readonly signal?: AbortSignal;
  /** Where it runs; one of its own unless given. */
  readonly runtime?: Runtime;
  /** How long a call may last, in seconds; 0.4 unless given. */
  readonly callSeconds?: number;
  /** The most steps of a call, whatever it lasts; no limit unless given. */
  readonly stepsPerCall?: number;
}

export interface Trained<P extends Parameters> {
  readonly parameters: P;
  /** The moving average of the parameters, where the step keeps one. */
  readonly average?: P;
  readonly state: TrainingState;
  /** Steps made in all. */
  readonly step: number;
  /** Whether it was stopped before the last step. */
  readonly stopped: boolean;
  /** `loss`, `metric.*` of each step; `validation.*` and `validation.step` of each measurement. */
  readonly history: ReadonlyMap<string, readonly number[]>;
  readonly recording?: TrainingRecording;
}

/** Bytes of batches in one call. */
const batchBytes = 128 * 2 ** 20;

/**
 * Trains: runs steps on the batches that `data` gives for their numbers.
 *
 * @throws where a batch is not what the step was made for, or a number stops being finite: the error says at which step and
 *   where, and the last checkpoint stays as it was
 */
export async function train<P extends Parameters>(
  step: TrainingStep<P>,
  data: BatchOf,
  options: TrainOptions<P>,
): Promise<Trained<P>> {
  checkOptions(options);
  const runtime = options.runtime ?? createRuntime();
  try {
    const run = await startRun(step as TrainingStep, data, options as TrainOptions, runtime);
    await runSteps(run);
    return resultOf(step, run);
  } finally {
    if (options.runtime === undefined) await runtime.close();
  }
}

function checkOptions({
  steps,
  seed = 0,
  checkpoint,
  validate,
  record,
  callSeconds = 1,
  stepsPerCall = 1,
}: TrainOptions<never>) {
  const whole = {
    steps,
    seed,
    "checkpoint.every": checkpoint?.every ?? 1,
    "validate.every": validate?.every ?? 1,
    stepsPerCall,
  };
  for (const [name, value] of Object.entries(whole)) {
    const least = name === "steps" || name === "seed" ? 0 : 1;
    if (!Number.isInteger(value) || value < least)
      throw usageError(`${name} must be a whole number of at least ${least}, not ${value}`);
  }
  if (seed >= 2 ** 32) throw usageError(`seed must be below 2^32, not ${seed}`);
  if (!(callSeconds > 0)) throw usageError(`callSeconds must be above 0, not ${callSeconds}`);
  if (record !== undefined) checkRecord(record);
}

/** A run while it goes. */
interface Run {
  readonly definition: TrainingStep;
  readonly data: BatchOf;
  readonly options: TrainOptions;
  readonly runtime: Runtime;
  readonly signature: string;
  readonly plain: StepsProgram;
  /** The recording program for groups of so many steps. */
  readonly recorder: (every: number) => StepsProgram;
  readonly gathering: Gathering | undefined;
  readonly history: History;
  state: TrainingState;
  step: number;
  /** Steps of the last checkpoint. */
  saved: number;
  secondsPerStep: number | undefined;
  calls: number;
}

async function startRun(
  definition: TrainingStep,
  data: BatchOf,
  options: TrainOptions,
  runtime: Runtime,
): Promise<Run> {
  const { checkpoint, record, seed = 0 } = options;
  const start = definition.start();
  const signature = signatureOf(start, seed);
  const found = checkpoint && (await readCheckpoint(checkpoint.folder, { signature }));
  const step = found?.step ?? 0;
  const earlier = record && checkpoint ? await readPieces(checkpoint.folder, step) : [];
  const values = record && recordedValues(definition, record.sites);
  const recorders = new Map<number, StepsProgram>();
  return {
    definition,
    data,
    options,
    runtime,
    signature,
    plain: plainProgram(definition, runtime),
    recorder(every) {
      const probe = record?.probe === undefined ? {} : { probe: record.probe };
      const made =
        recorders.get(every) ?? recordingProgram(definition, runtime, { values: values ?? new Map(), ...probe }, every);
      recorders.set(every, made);
      return made;
    },
    gathering: record && gatherRows(earlier, record.maxBytes),
    history: found?.history ?? new Map(),
    state: found?.state ?? start,
    step,
    saved: found?.step ?? -1,
    secondsPerStep: undefined,
    calls: 0,
  };
}

async function runSteps(run: Run): Promise<void> {
  const { options } = run;
  const { steps, signal, checkpoint, validate } = options;
  while (run.step < steps && signal?.aborted !== true) {
    await runCall(run, planCall(run));
    if (validate !== undefined && (run.step % validate.every === 0 || run.step === steps)) await measure(run, validate);
    if (checkpoint !== undefined && (run.step % (checkpoint.every ?? 1000) === 0 || run.step === steps))
      await save(run);
    await setImmediate(); // timers, streams and Ctrl-C have their turn: the runtime blocks while it runs
  }
  if (checkpoint !== undefined && run.saved !== run.step) await save(run);
}

interface Call {
  readonly count: number;
  /** Steps of a group, where the call records. */
  readonly group: number | undefined;
}

/** The next call: up to the next checkpoint, measurement or record, and not longer than its time. */
function planCall({ options, step, secondsPerStep, definition }: Run): Call {
  const { steps, checkpoint, validate, record, callSeconds = 0.4, stepsPerCall = Number.POSITIVE_INFINITY } = options;
  const until = (every: number | undefined) =>
    every === undefined ? Number.POSITIVE_INFINITY : every - (step % every);
  const free = Math.min(steps - step, until(checkpoint && (checkpoint.every ?? 1000)), until(validate?.every));
  const bytes = Object.values(definition.options.batch).reduce(
    (sum, { shape }) => sum + 4 * shape.reduce<number>((n, d) => n * (typeof d === "number" ? d : 1), 1),
    1,
  );
  const timed = secondsPerStep === undefined ? 1 : Math.floor(callSeconds / secondsPerStep);
  const most = Math.max(1, Math.min(timed, stepsPerCall, Math.floor(batchBytes / bytes)));
  if (record === undefined) return { count: Math.min(free, most), group: undefined };
  const next = nextRecord(record, step);
  if (next > step) return { count: Math.min(free, most, next - step), group: undefined };
  const every = record.every ?? 1;
  const groups = Math.floor(Math.min(free, most) / every);
  return record.every !== undefined && groups > 0 ? { count: groups * every, group: every } : { count: 1, group: 1 };
}

async function runCall(run: Run, { count, group }: Call): Promise<void> {
  const { definition, data, options, state, step } = run;
  const { seed = 0, onStep } = options;
  const batches: Readonly<Record<string, Tensor>>[] = [];
  for (let i = 0; i < count; i++) batches.push(await data(step + i));
  const leading = group === undefined ? [count] : [count / group, group];
  const stacked = stackBatches(definition.options.batch, batches, { first: step, leading });
  const program = group === undefined ? run.plain : run.recorder(group);
  const started = performance.now();
  const { state: next, rows } = await program({ state, batches: stacked, seed }).catch((error: unknown) => {
    throw failure(`training failed in steps ${step + 1} to ${step + count}: ${messageOf(error)}`, error);
  });
  const seconds = (performance.now() - started) / 1000 / count;
  const numbers = [...rows].filter(([name]) => name === "loss" || name.startsWith("metric."));
  if (!numbers.every(([, x]) => isFiniteTensor(x)) || !isFiniteState(next)) await diverged(run, batches);
  run.calls += 1;
  if (run.calls > 1) run.secondsPerStep = seconds; // the first call compiles
  appendHistory(run.history, step, new Map(numbers.map(([name, { data: values }]) => [name, values as Float32Array])));
  if (group !== undefined) {
    const at = Array.from({ length: count / group }, (_, i) => step + i * group);
    run.gathering?.add(at, rows);
  }
  run.state = next;
  run.step += count;
  if (onStep !== undefined) tell(run, step, onStep);
}

function tell({ options, history, step, secondsPerStep }: Run, from: number, onStep: (event: StepEvent) => void): void {
  const at = (name: string, i: number) => (history.get(name) as number[])[i] as number;
  const names = [...history.keys()].filter((name) => name.startsWith("metric."));
  for (let i = from; i < step; i++) {
    onStep({
      step: i + 1,
      steps: options.steps,
      loss: at("loss", i),
      metrics: Object.fromEntries(names.map((name) => [name.slice("metric.".length), at(name, i)])),
      stepsPerSecond: secondsPerStep === undefined ? 0 : 1 / secondsPerStep,
      secondsLeft: (options.steps - i - 1) * (secondsPerStep ?? 0),
    });
  }
}

/** Finds where the numbers stopped being finite, and says it. */
async function diverged(run: Run, batches: readonly Readonly<Record<string, Tensor>>[]): Promise<never> {
  const { definition, runtime, plain, state, options, saved } = run;
  const { step, where } = await findDivergence(definition, runtime, plain, { state, batches, seed: options.seed ?? 0 });
  const kept =
    options.checkpoint === undefined
      ? "no checkpoint was asked for"
      : saved < 0
        ? "there is no checkpoint yet"
        : `the checkpoint of step ${saved} in ${options.checkpoint.folder} is whole`;
  throw failure(
    `training left the finite numbers at step ${step}: the first is ${where ?? "not found again when the steps were repeated"}; ` +
      `lower the learning rate, clip gradients, or look at that batch (${kept})`,
  );
}

async function measure(run: Run, { run: validate }: NonNullable<TrainOptions["validate"]>): Promise<void> {
  const steps = run.history.get("validation.step") ?? [];
  if (steps.at(-1) === run.step) return;
  const found = await validate(run.definition.parameters(run.state), run.step);
  const rows = Object.entries({ step: run.step, ...found }).map(([name, x]) => [`validation.${name}`, [x]] as const);
  appendHistory(run.history, steps.length, new Map(rows));
}

async function save(run: Run): Promise<void> {
  const { options, gathering, step, state, history, signature } = run;
  const checkpoint = options.checkpoint as CheckpointOptions;
  const piece = gathering?.piece();
  if (piece !== undefined) await writePiece(checkpoint.folder, step, piece);
  await writeCheckpoint(checkpoint, { step, state: new Map(state), history }, signature);
  run.saved = step;
}

function resultOf<P extends Parameters>(step: TrainingStep<P>, run: Run): Trained<P> {
  const { state, history, gathering, options } = run;
  const averaged = unprefixed("average.", state).size > 0;
  return {
    parameters: step.parameters(state),
    ...(averaged ? { average: step.parameters(state, "average") } : {}),
    state,
    step: run.step,
    stopped: run.step < options.steps,
    history,
    ...(gathering === undefined ? {} : { recording: gathering.recording() }),
  };
}

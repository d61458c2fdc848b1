/**
 * Selectivity (Hewitt & Liang 2019, "Designing and Interpreting Probes with Control Tasks"): a probe that also learns
 * random labels says little about its features. In a control task every type of input (every word) has a random label
 * of its own, so that only a probe that memorises types scores high.
 */
import { usageError } from "../../errors.js";
import { random, withRuntime } from "../../runtime/index.js";
import { type ClassProbe, promptGroups } from "./classification.js";
import { examplesOf, type ProbeFeatures } from "./features.js";
import { type ClassProbeSpec, classProbe } from "./kinds.js";
import { type Label, readLabels, shuffled } from "./labels.js";

export interface SelectivityOptions {
  /**
   * The probe and its options; `lda` unless given. `differenceInMeans` is the quickest, a search of penalties the
   * slowest.
   */
  readonly probe?: ClassProbeSpec;
  /** The type of every row (its word, say): rows of a type share a control label. A type a row unless given. */
  readonly types?: ArrayLike<Label>;
  /** Control tasks drawn; 5 unless given. */
  readonly draws?: number;
  /** Orders of the labels that the score is compared with; 99 unless given. Each is a whole cross-validation. */
  readonly permutations?: number;
  /** A whole number from 0; 0 unless given. */
  readonly seed?: number;
  /** Called after each cross-validation with those done so far. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Stops between two fits. */
  readonly signal?: AbortSignal;
}

export interface Selectivity {
  /** The probe of the labels as they are. */
  readonly task: ClassProbe;
  /** The score on each control task, and their mean. */
  readonly control: { readonly scores: readonly number[]; readonly mean: number };
  /** The task's score minus the mean of the controls'. */
  readonly selectivity: number;
  /** The scores of shuffled labels, and p: the share of orders (the given one counted) that score at least as high. */
  readonly shuffled: { readonly scores: readonly number[]; readonly p: number };
}

/**
 * How much better a probe does on its labels than on control labels, and than on its labels in random order.
 *
 * A control label is drawn for each type from the distribution of the labels over rows; draws that leave one class, or
 * a class of a single row, are drawn again. A probe can only learn the control of types that occur on both sides of a
 * split: with `groups` equal to `types` its score is chance. Shuffled labels assume that rows are exchangeable; labels
 * of dependent rows (tokens of a prompt) make p too small. Throws where types and rows don't match.
 *
 * @example await selectivity(features, partsOfSpeech, { types: words, probe: { kind: "linear", method: "lda" } });
 */
export async function selectivity(
  features: ProbeFeatures,
  labels: ArrayLike<Label>,
  options: SelectivityOptions = {},
): Promise<Selectivity> {
  const { probe = { kind: "linear" }, draws = 5, permutations = 99, seed = 0, signal, onProgress } = options;
  checkCount("draws", draws, 1);
  checkCount("permutations", permutations, 0);
  const examples = examplesOf(features);
  const groups = probe.groups ?? promptGroups(examples.prompts);
  const given = Array.from(labels);
  const types = readLabels(options.types ?? given.map((_, i) => i), given.length, "types");
  const total = 1 + draws + permutations;
  let done = 0;
  return withRuntime(probe.runtime, async (runtime) => {
    // What a score is compared with needs no interval: two samples are the fewest.
    const run = async (own: readonly Label[], resamples = 2) => {
      const result = await classProbe(examples.features, own, {
        ...probe,
        ...(groups === undefined ? {} : { groups }),
        ...(signal === undefined ? {} : { signal }),
        runtime,
        resamples,
      });
      onProgress?.(++done, total);
      return result;
    };
    const task = await run(given, probe.resamples ?? 1000);
    const control: number[] = [];
    for (let draw = 0; draw < draws; draw++)
      control.push((await run(controlLabels(given, types.classOf, seed, 2 * draw + 1))).score.mean);
    const orders: number[] = [];
    for (let order = 0; order < permutations; order++)
      orders.push((await run(shuffled(given, seed, 2 * order + 2))).score.mean);
    const mean = control.reduce((sum, score) => sum + score, 0) / draws;
    const extreme = orders.filter((score) => score >= task.score.mean - 1e-12).length; // equal up to rounding is equal
    return {
      task,
      control: { scores: control, mean },
      selectivity: task.score.mean - mean,
      shuffled: { scores: orders, p: (1 + extreme) / (1 + permutations) },
    };
  });
}

function checkCount(name: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least)
    throw usageError(`${name} must be a whole number of at least ${least}, not ${value}`);
}

const mostDraws = 100;

/** A label for each type, drawn from the labels of all rows, and given to the type's rows. */
export function controlLabels(labels: readonly Label[], typeOf: Int32Array, seed: number, stream: number): Label[] {
  const source = random(seed, stream);
  for (let attempt = 0; attempt < mostDraws; attempt++) {
    const ofType = new Map<number, Label>();
    const drawn = Array.from(typeOf, (type) => {
      const label = ofType.get(type) ?? (labels[source.integer(labels.length)] as Label);
      ofType.set(type, label);
      return label;
    });
    const { classes, classOf } = readLabels(drawn);
    const rarest = Math.min(...classes.map((_, k) => classOf.filter((own) => own === k).length));
    if (classes.length > 1 && rarest > 1) return drawn;
  }
  throw usageError(
    `no control task in ${mostDraws} draws has two rows of each of two classes: there are too few types or rows`,
  );
}

/**
 * Adversarial pictures: the fast gradient sign method (Goodfellow et al. 2014, equation in section 4) and projected
 * gradient descent (Madry et al. 2017, section 2.1), in the largest or the Euclidean norm. The network's gradient comes
 * from one compiled graph; steps and projections are made here in float64 and rounded towards the original picture, so
 * that bounds hold exactly.
 */
import { setImmediate } from "node:timers/promises";
import { usageError } from "../errors.js";
import { argMax, logSoftmax, neg, type Value } from "../graph/index.js";
import type { Network, NetworkCall, NetworkProgram } from "../model/index.js";
import { random, row, type Tensor, tensor } from "../runtime/index.js";
import {
  type Ball,
  checkBall,
  distancesOf,
  type NormName,
  projected,
  randomInBall,
  randomOnBall,
  stepped,
} from "./ball.js";
import {
  type ClassifierOptions,
  classFeed,
  compileWithClasses,
  type Feeds,
  gradientAt,
  imageInput,
  imageOf,
  ofClass,
  oneEach,
  rowClasses,
  scoresSite,
} from "./targets.js";

export interface AttackOptions extends ClassifierOptions {
  /** The class of each picture; or, where `targeted`, the one that it is to be taken for. */
  readonly labels: readonly number[];
  readonly targeted?: boolean;
  /** Largest distance from the picture, in the units of its numbers: 8/255 is usual for the largest norm. */
  readonly epsilon: number;
  /** `linf`, the largest change of a number (unless given), or `l2`, the Euclidean length of all changes. */
  readonly norm?: NormName;
  /** Least and largest number of a picture; [0, 1] unless given. */
  readonly range?: readonly [number, number];
  /** What is raised (lowered, where targeted): one number a row of scores and classes; the cross-entropy unless given. */
  readonly loss?: (scores: Value, classes: Value, call: NetworkCall) => Value;
}

export interface PgdOptions extends AttackOptions {
  /** 20 unless given. */
  readonly steps?: number;
  /** Length of a step, in the norm; 2.5 epsilon / steps unless given, as Madry et al. take it. */
  readonly stepSize?: number;
  /** Start from a random place of the ball (on, unless switched off), in each restart another. */
  readonly randomStart?: boolean;
  /** Attempts, of which the best counts for each picture; 1 unless given. */
  readonly restarts?: number;
  /** Of the random starts; 0 unless given. */
  readonly seed?: number;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface Attack {
  /** The pictures as the attack left them, in the shape of those given. */
  readonly images: Tensor<"float32">;
  /** Whether each is misclassified; where targeted, whether it is classified as the target. */
  readonly success: readonly boolean[];
  /** The class that each is now given. */
  readonly predictions: readonly number[];
  /** The loss of each. */
  readonly losses: readonly number[];
  /** How far each lies from the picture that was given. */
  readonly distances: { readonly linf: readonly number[]; readonly l2: readonly number[] };
}

/**
 * One step along the sign of the loss' gradient (for `l2`, along the gradient), as long as the bound allows.
 *
 * @param feeds the network's inputs, the image [batch, channels, height, width] among them
 */
export function fgsm(network: Network, feeds: Feeds, options: AttackOptions): Promise<Attack> {
  return pgd(network, feeds, { ...options, steps: 1, stepSize: options.epsilon, randomStart: false, restarts: 1 });
}

/**
 * Steps along the gradient, each followed by the projection onto the ball of `epsilon` around the picture and onto the
 * range of numbers. Of all pictures on the way it keeps, for each row, one that succeeds, and of those (or, where none does,
 * of all) the one with the largest loss. `steps: 1`, `stepSize: epsilon` and no random start make it `fgsm`.
 *
 * @param feeds the network's inputs, the image [batch, channels, height, width] among them, within `range`
 */
export async function pgd(network: Network, feeds: Feeds, options: PgdOptions): Promise<Attack> {
  const { steps = 20, restarts = 1, randomStart = true, seed = 0, onProgress, signal } = options;
  checkCounts({ steps, restarts });
  const { ball, run, keep, attack } = begin(network, feeds, options);
  const { stepSize = (2.5 * options.epsilon) / steps, targeted = false } = options;
  if (!(stepSize >= 0)) throw usageError(`stepSize must be a number of at least 0, not ${stepSize}`);
  const source = random(seed);
  for (let restart = 0; restart < restarts; restart++) {
    let image = randomStart ? randomInBall(ball, source) : ball.original;
    for (let step = 0; step <= steps; step++) {
      signal?.throwIfAborted();
      const outcome = await run(image);
      if (step > 0) keep(image, outcome);
      if (step < steps)
        image = projected(ball, stepped(image, outcome.gradient, targeted ? -stepSize : stepSize, ball.norm));
      onProgress?.(restart * (steps + 1) + step + 1, restarts * (steps + 1));
      await setImmediate(); // the runtime blocks while it runs: let progress show and Ctrl-C arrive
    }
  }
  return attack();
}

export interface NoiseOptions extends AttackOptions {
  /** 0 unless given. */
  readonly seed?: number;
}

/**
 * The control of an attack: changes as large as the bound allows, their signs (for `l2`, their direction) at random. A
 * network that these fool as well is not weak to attacks but to noise.
 */
export async function noiseAttack(network: Network, feeds: Feeds, options: NoiseOptions): Promise<Attack> {
  const { ball, run, keep, attack } = begin(network, feeds, options);
  const image = randomOnBall(ball, random(options.seed ?? 0));
  keep(image, await run(image));
  return attack();
}

function checkCounts(counts: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts))
    if (!Number.isInteger(count) || count < 1)
      throw usageError(`${name} must be a whole number of at least 1, not ${count}`);
}

/** What is known of every row of a picture: its loss, the loss' gradient there, and the class that it is given. */
type Outcome = Readonly<Record<"losses" | "gradient" | "predictions", Tensor>>;

/** What every attack needs: the set of pictures, how one of them is judged, and the best of each row so far. */
function begin(network: Network, feeds: Feeds, options: AttackOptions) {
  const { labels, epsilon, norm = "linf", range = [0, 1] } = options;
  const { name, value } = imageInput(network, options.input);
  const original = imageOf(feeds, name);
  if (labels.length !== original.shape[0])
    throw usageError(`there are ${original.shape[0]} pictures and ${labels.length} labels: give one for each`);
  const ball: Ball = { original, epsilon, norm, range };
  checkBall(ball);
  const program = lossProgram(network, value, options);
  const fixed = { ...feeds, ...classFeed(labels) };
  const run = async (image: Tensor) => (await program({ ...fixed, [name]: image })) as Outcome;
  return { ball, run, ...bestRows(original, options) };
}

/** The graph of an outcome. */
function lossProgram(network: Network, image: Value, options: AttackOptions): NetworkProgram {
  const site = scoresSite(network, options.labels, options);
  const loss = options.loss ?? ((scores, classes) => neg(ofClass(logSoftmax(scores), classes)));
  return compileWithClasses(network, image, (call) => {
    const scores = call.site(site);
    const losses = oneEach(loss(scores, rowClasses(call), call), "a loss");
    return { losses, gradient: gradientAt(losses, image, "the image"), predictions: argMax(scores, 1) };
  });
}

/** Keeps each row's best picture: one that succeeds before one that doesn't, then the one with the larger loss. */
function bestRows(original: Tensor<"float32">, { labels, targeted = false }: AttackOptions) {
  const images = tensor("float32", original.shape, original.data.slice());
  const best: ({ success: boolean; loss: number; prediction: number } | undefined)[] = labels.map(() => undefined);
  const keep = (image: Tensor, { losses, predictions }: Outcome): void => {
    labels.forEach((label, b) => {
      const [loss, prediction] = [Number(losses.data[b]), Number(predictions.data[b])];
      const success = (prediction === label) === targeted;
      const known = best[b];
      const better = known === undefined || (targeted ? loss < known.loss : loss > known.loss);
      if (known !== undefined && known.success === success ? !better : known?.success === true) return;
      best[b] = { success, loss, prediction };
      row(images, b).data.set(row(image, b).data as Float32Array);
    });
  };
  const attack = (): Attack => ({
    images,
    success: best.map((row) => row?.success === true),
    predictions: best.map((row) => row?.prediction ?? -1),
    losses: best.map((row) => row?.loss ?? NaN),
    distances: distancesOf(original, images),
  });
  return { keep, attack };
}

/**
 * Steering vectors by gradient: the vector that raises a metric of some prompts most (Subramani et al. 2022, "Extracting
 * latent steering vectors"; Dunefsky & Cohan 2025, "One-shot optimized steering vectors"), held in a ball around zero or
 * near the model's own predictions of other texts. The gradient of x + v at the steered tokens, summed, is that of v.
 */
import { usageError } from "../errors.js";
import { constantLike, expand, pullback, reduceSum, reshape, type Value } from "../graph/index.js";
import type { ComputeContext, Metric, Model, Prompt, SiteDescription } from "../model/index.js";
import { elementCount, normals, row, type Tensor, tensorOf } from "../runtime/index.js";
import { promptActivations, steerableSite, tokenShape } from "./activations.js";
import { type BatchOptions, batchesOf, pause } from "./batches.js";
import { divergenceSum, perRow } from "./measure.js";
import { type Evaluation, type OptimizerName, optimizers } from "./optimizers.js";
import { checkPositions, type Positions, sumOverPositions } from "./positions.js";
import { steer } from "./steer.js";
import { lengthOf, type SteeringVector } from "./vector.js";

export interface RefineOptions extends BatchOptions {
  readonly prompts: readonly Prompt[];
  /** What the vector is to raise, on average over the prompts; one number a row. */
  readonly metric: Metric;
  /** Where to begin; a vector of zeros unless given. */
  readonly start?: SteeringVector;
  /** Where to steer; the start's site unless given. */
  readonly site?: string;
  /** Tokens that are steered; all unless given. */
  readonly positions?: Positions;
  /**
   * `adam` (Kingma & Ba 2015), or `ascent`: along the gradient, the step halved until the objective rises and doubled
   * afterwards, so that it never falls. `adam` unless given.
   */
  readonly optimizer?: OptimizerName;
  /** Length of a first step, as a share of the mean length of the prompts' last activations there; 0.02 unless given. */
  readonly stepSize?: number;
  /** Most steps; 50 unless given. */
  readonly steps?: number;
  /** Most length of the vector; any unless given. */
  readonly maxNorm?: number;
  /** Texts whose predictions shall stay: `weight` times their mean KL(before || after) a token is taken off the metric. */
  readonly fluency?: { readonly prompts: readonly Prompt[]; readonly weight: number };
  /** A random displacement of the start, as a share of the same mean length; none unless given. */
  readonly noise?: number;
  /** Seed of the displacement; 0 unless given. */
  readonly seed?: number;
  /** Stop as soon as the mean metric is this high. */
  readonly target?: number;
  /** Stop after so many steps without a better objective; 10 unless given. */
  readonly patience?: number;
}

/** One step of the search, the start being step 0. */
export interface RefineStep {
  readonly step: number;
  /** Mean metric over the prompts. */
  readonly metric: number;
  /** Mean KL(before || after) a token of the fluency prompts, in nats. */
  readonly kl?: number;
  /** The metric, less the weighted KL: what is raised. */
  readonly objective: number;
  /** Length of the objective's gradient: what a short step along it gains, by the step's length. */
  readonly gradientNorm: number;
  /** Length of the vector. */
  readonly norm: number;
}

export interface Refinement {
  /** The best vector of the search. */
  readonly vector: SteeringVector;
  readonly history: RefineStep[];
  /** Why the search ended: all steps taken, `target`, `patience`, or no step along the gradient that raises the objective. */
  readonly stopped: "steps" | "target" | "patience" | "stuck";
}

/**
 * Optimises a vector that is added at a site. One compiled graph serves all steps (one more with fluency prompts); only
 * the metric and the vector's gradient leave it.
 *
 * Throws where the metric does not depend on the site, or a size is out of range.
 *
 * @example await refineSteering(model, { prompts, metric: "logit( oui) - logit( yes)", site: "layers.12.residPost" })
 */
export async function refineSteering(model: Model, options: RefineOptions): Promise<Refinement> {
  const { optimizer = "adam", steps = 50, stepSize = 0.02, patience = 10, positions = "all" } = options;
  checkOptions({ steps, stepSize, patience, optimizer }, options);
  checkPositions(positions);
  const site = siteOf(model, options);
  const { onProgress: _, ...quiet } = options; // progress counts steps
  const [activations] = await promptActivations(model, options.prompts, [site], "last", quiet);
  const activationNorm = meanLength(activations as Tensor<"float64">);
  const vectorOf = (point: Float64Array): SteeringVector => {
    const vector = tensorOf("float32", tokenShape(site), point);
    const facts = { method: "refined", positions, activationNorm, prompts: options.prompts.length } as const;
    return { site: site.name, vector, norm: lengthOf(vector), ...facts, model: model.identity };
  };
  const evaluate = await objectiveOf(model, site, vectorOf, positions, options);
  const history: RefineStep[] = [];
  const finished = (best: Point, stopped: Refinement["stopped"]) => ({ vector: vectorOf(best.x), history, stopped });
  let point = await evaluate(startOf(site, activationNorm, options));
  let [best, bestStep] = [point, 0];
  const advance = optimizers[optimizer]({ evaluate, first: stepSize * activationNorm });
  for (let step = 0; ; step++) {
    const { metric, kl, value: objective } = point;
    const gradientNorm = Math.hypot(...point.gradient);
    history.push({
      step,
      metric,
      ...(kl === undefined ? {} : { kl }),
      objective,
      gradientNorm,
      norm: Math.hypot(...point.x),
    });
    if (step > 0) options.onProgress?.(step, steps);
    if (point.value > best.value) [best, bestStep] = [point, step];
    if (metric >= (options.target ?? Infinity)) return finished(point, "target");
    if (step === steps) return finished(best, "steps");
    if (step - bestStep >= patience) return finished(best, "patience");
    await pause(options.signal);
    const next = await advance(point);
    if (next === undefined) return finished(best, "stuck");
    point = next;
  }
}

/** A vector with its objective, which is inside the ball. */
interface Point extends Evaluation {
  readonly metric: number;
  readonly kl?: number;
}

/** The objective at a point: the mean metric less the weighted KL, with the gradient of both. */
async function objectiveOf(
  model: Model,
  site: SiteDescription,
  vectorOf: (point: Float64Array) => SteeringVector,
  positions: Positions,
  { prompts, metric, fluency, maxNorm = Infinity, batchTokens, signal }: RefineOptions,
): Promise<(point: Float64Array) => Promise<Point>> {
  const measured = batchesOf(model, prompts, batchTokens).map((ids): Batch => ({ ids, inputs: {} }));
  const texts = fluency === undefined ? [] : await fluencyBatches(model, fluency.prompts, batchTokens);
  const tokens = texts.flatMap(({ ids }) => ids).reduce((sum, line) => sum + line.length, 0);
  const sum = (view: Model, batches: readonly Batch[], measure: Measure) =>
    valueAndGradient(view, batches, { site, positions, measure, signal });
  return async (given) => {
    const x = insideBall(given, maxNorm);
    const view = steer(model, vectorOf(x), { positions });
    const raised = await sum(view, measured, (context) => perRow(context, metric));
    const mean = raised.value / prompts.length;
    const gradient = raised.gradient.map((g) => g / prompts.length);
    if (fluency === undefined) return { x, value: mean, gradient, metric: mean };
    const moved = await sum(view, texts, (context, inputs) => divergenceSum(context, inputs.before as Value));
    const kl = moved.value / tokens;
    const held = gradient.map((g, i) => g - (fluency.weight / tokens) * (moved.gradient[i] as number));
    return { x, value: mean - fluency.weight * kl, gradient: held, metric: mean, kl };
  };
}

interface Batch {
  readonly ids: number[][];
  readonly inputs: Readonly<Record<string, Tensor>>;
}

/** Batches with the logits that the model has for them before it is steered. */
async function fluencyBatches(
  model: Model,
  prompts: readonly Prompt[],
  batchTokens: number | undefined,
): Promise<Batch[]> {
  const batches: Batch[] = [];
  for (const ids of batchesOf(model, prompts, batchTokens, "fluency.prompts"))
    batches.push({ ids, inputs: { before: (await model.record(ids, "logits")).sites.logits as Tensor } });
  return batches;
}

type Measure = (context: ComputeContext, inputs: Readonly<Record<string, Value>>) => Value;

interface Gradient {
  readonly site: SiteDescription;
  readonly positions: Positions;
  readonly measure: Measure;
  readonly signal: AbortSignal | undefined;
}

/** The sum of a measure over all rows, and its gradient with respect to a vector added at the positions, [size]. */
async function valueAndGradient(
  view: Model,
  batches: readonly Batch[],
  { site, positions, measure, signal }: Gradient,
): Promise<{ value: number; gradient: Float64Array }> {
  const size = elementCount(tokenShape(site));
  const total = { value: 0, gradient: new Float64Array(size) };
  for (const { ids, inputs } of batches) {
    signal?.throwIfAborted();
    const outputs = await view.compute(
      ids,
      (context, own) => {
        const value = measure(context, own);
        const seed = expand(constantLike(value, 1), value.shape);
        const [found] = pullback(new Map([[value, seed]]), [context.site(site.name)]);
        if (found === undefined)
          throw usageError(`what is raised does not depend on ${site.name}: steer at an earlier site`);
        const perPrompt = sumOverPositions(found, context.positions, positions);
        return { value: reduceSum(value, 0), gradient: reshape(reduceSum(perPrompt, 0), [size]) };
      },
      { inputs },
    );
    total.value += Number(outputs.value?.data[0]);
    (outputs as { gradient: Tensor<"float32"> }).gradient.data.forEach((g, i) => {
      total.gradient[i] = (total.gradient[i] as number) + g;
    });
  }
  return total;
}

function insideBall(x: Float64Array, radius: number): Float64Array {
  const length = Math.hypot(...x);
  return length <= radius ? x : x.map((value) => (value * radius) / length);
}

function siteOf(model: Model, { site, start }: RefineOptions): SiteDescription {
  const name = site ?? start?.site;
  if (name === undefined) throw usageError("refineSteering needs a site, or a start that has one");
  return steerableSite(model, name);
}

function startOf(site: SiteDescription, activationNorm: number, { start, noise = 0, seed = 0 }: RefineOptions) {
  const size = elementCount(tokenShape(site));
  const x = start === undefined ? new Float64Array(size) : Float64Array.from(start.vector.data);
  if (x.length !== size) throw usageError(`the start has ${x.length} numbers; a token at ${site.name} has ${size}`);
  if (noise === 0) return x;
  const draws = normals(size, seed);
  const factor = (noise * activationNorm) / Math.hypot(...draws);
  return x.map((value, i) => value + factor * (draws[i] as number));
}

function meanLength(rows: Tensor<"float64">): number {
  const [count = 0] = rows.shape;
  return Array.from({ length: count }, (_, r) => Math.hypot(...row(rows, r).data)).reduce((a, b) => a + b) / count;
}

function checkOptions(
  sizes: { steps: number; stepSize: number; patience: number; optimizer: string },
  { maxNorm = 1, noise = 0, fluency }: RefineOptions,
): void {
  const { steps, stepSize, patience, optimizer } = sizes;
  if (!Object.hasOwn(optimizers, optimizer))
    throw usageError(`the optimizer is one of ${Object.keys(optimizers).join(", ")}, not "${optimizer}"`);
  for (const [name, value] of Object.entries({ steps, patience }))
    if (!Number.isInteger(value) || value < 1)
      throw usageError(`${name} must be a whole number of at least 1, not ${value}`);
  for (const [name, value] of Object.entries({ stepSize, maxNorm }))
    if (!(value > 0)) throw usageError(`${name} must be above 0, not ${value}`);
  for (const [name, value] of Object.entries({ noise, "fluency.weight": fluency?.weight ?? 0 }))
    if (!(value >= 0 && value < Infinity)) throw usageError(`${name} must be at least 0, not ${value}`);
}

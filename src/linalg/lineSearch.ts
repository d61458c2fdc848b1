/**
 * A step along a descent direction that meets the strong Wolfe conditions: bracket, then zoom (Nocedal & Wright,
 * "Numerical optimization", 2006, algorithms 3.5 and 3.6). With f the objective along the line and 0 < c1 < c2 < 1,
 *   f(a) <= f(0) + c1 a f'(0)   and   |f'(a)| <= c2 |f'(0)|.
 */

const c1 = 1e-4;
const c2 = 0.9;
/** Each trial costs an evaluation; a smooth objective needs one or two, and after this many it isn't one. */
const maxTrials = 40;

/** What is known at one step along the line. */
export interface Trial {
  readonly step: number;
  readonly value: number;
  /** The derivative along the direction. */
  readonly slope: number;
}

/**
 * The first trial found that meets the conditions. Where the objective isn't finite the step was too long: it is cut.
 * If no trial meets them, the lowest found, or undefined where none is below the start.
 *
 * @param evaluate the objective at a step
 * @param start the trial at step 0; where its slope isn't negative there is nothing to find
 * @param firstStep the step that is tried first
 */
export async function lineSearch<T extends Trial>(
  evaluate: (step: number) => Promise<T>,
  start: T,
  firstStep: number,
): Promise<T | undefined> {
  if (!(start.slope < 0)) return undefined;
  // Near a minimum two values differ by less than their own rounding; without this slack no step would be accepted there.
  const rounding = 4 * Number.EPSILON * Math.abs(start.value);
  const descends = ({ value, step }: Trial) => value <= start.value + c1 * step * start.slope + rounding;
  const accepts = (trial: Trial) => descends(trial) && Math.abs(trial.slope) <= -c2 * start.slope;
  let low = start; // the lowest trial so far that descends
  let high: T | undefined; // the other end of the bracket, once there is one
  let step = firstStep;
  for (let count = 0; count < maxTrials; count++) {
    const trial = await evaluate(step);
    if (accepts(trial)) return trial;
    if (!isFiniteTrial(trial) || !descends(trial) || trial.value >= low.value) {
      high = trial;
    } else {
      const outwards = high === undefined ? 1 : high.step - low.step;
      if (trial.slope * outwards >= 0) high = low;
      low = trial;
    }
    step = high === undefined ? 2 * step : between(low, high);
    if (step === low.step || step === high?.step) break; // the bracket is as narrow as numbers allow
  }
  return low.value < start.value ? low : undefined;
}

function isFiniteTrial({ value, slope }: Trial): boolean {
  return Number.isFinite(value) && Number.isFinite(slope);
}

/** The minimum of the cubic through both ends (equation 3.59), kept off the ends by a tenth of the bracket. */
function between(low: Trial, high: Trial): number {
  const width = high.step - low.step;
  if (!isFiniteTrial(high)) return low.step + 0.1 * width;
  const d1 = low.slope + high.slope - (3 * (low.value - high.value)) / -width;
  const d2 = Math.sign(width) * Math.sqrt(d1 * d1 - low.slope * high.slope);
  const share = 1 - (high.slope + d2 - d1) / (high.slope - low.slope + 2 * d2);
  return low.step + width * (Number.isFinite(share) ? Math.min(0.9, Math.max(0.1, share)) : 0.5);
}

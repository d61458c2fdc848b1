/** Ways to raise a function of a vector, step by step, from its value and gradient. */

/** A function at a point; `x` is the point that was really taken, where points are kept inside a region. */
export interface Evaluation {
  readonly x: Float64Array;
  readonly value: number;
  readonly gradient: Float64Array;
}

/** What an optimizer is given: the function, and the length of its first step. */
export interface Climb<P extends Evaluation> {
  readonly evaluate: (x: Float64Array) => Promise<P>;
  readonly first: number;
}

/** The next point from the last; undefined where no step along the gradient raises the function. */
type Advance<P extends Evaluation> = (point: P) => Promise<P | undefined>;

/** Halvings of a step before the gradient is taken for rounding. */
const mostHalvings = 20;

export const optimizers = { adam, ascent };

export type OptimizerName = keyof typeof optimizers;

/** Adam (Kingma & Ba 2015, algorithm 1) with the usual decays; a first step changes every number by the same amount. */
function adam<P extends Evaluation>({ evaluate, first }: Climb<P>): Advance<P> {
  const [decay, squareDecay, epsilon] = [0.9, 0.999, 1e-12];
  let step = 0;
  let moments = { mean: new Float64Array(0), square: new Float64Array(0) };
  return ({ x, gradient }) => {
    if (step === 0) moments = { mean: new Float64Array(x.length), square: new Float64Array(x.length) };
    step += 1;
    const rate = first / Math.sqrt(x.length);
    const [whole, wholeSquare] = [1 - decay ** step, 1 - squareDecay ** step];
    moments = {
      mean: moments.mean.map((m, i) => decay * m + (1 - decay) * (gradient[i] as number)),
      square: moments.square.map((v, i) => squareDecay * v + (1 - squareDecay) * (gradient[i] as number) ** 2),
    };
    const { mean, square } = moments;
    const next = x.map((value, i) => {
      const size = Math.sqrt((square[i] as number) / wholeSquare) + epsilon;
      return value + (rate * (mean[i] as number)) / whole / size;
    });
    return evaluate(next);
  };
}

/** Steepest ascent: the step is halved until the function rises, and doubled after a step that did. */
function ascent<P extends Evaluation>({ evaluate, first }: Climb<P>): Advance<P> {
  let length = first;
  return async ({ x, value, gradient }) => {
    const size = Math.hypot(...gradient);
    if (size === 0) return undefined;
    for (let halvings = 0; halvings < mostHalvings; halvings++) {
      const scale = length / size;
      const next = await evaluate(x.map((at, i) => at + scale * (gradient[i] as number)));
      if (next.value > value) {
        length *= 2;
        return next;
      }
      length /= 2;
    }
    return undefined;
  };
}

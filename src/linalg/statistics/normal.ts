/** The standard normal distribution, to the last digits of float64. */

const density = (x: number) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);

/** The probability that a standard normal number is at most x. Relative accuracy also far in the lower tail. */
export function normalCdf(x: number): number {
  if (x < -3) return density(x) / tailRatio(-x);
  if (x > 3) return 1 - normalCdf(-x);
  // Phi(x) = 1/2 + phi(x) (x + x^3/3 + x^5/(3 5) + ...): no term is negative, so nothing cancels.
  let sum = 0;
  let term = x;
  for (let odd = 3; sum + term !== sum; odd += 2) {
    sum += term;
    term *= (x * x) / odd;
  }
  return 0.5 + density(x) * sum;
}

/** phi(x) / (1 - Phi(x)) = x + 1/(x + 2/(x + 3/(x + ...))); 80 levels reach full precision from x = 3 on. */
function tailRatio(x: number): number {
  let value = x;
  for (let level = 80; level >= 1; level--) value = x + level / value;
  return value;
}

/** The x whose `normalCdf` is `probability`: NaN outside [0, 1], infinite at its ends. */
export function normalQuantile(probability: number): number {
  if (!(probability >= 0 && probability <= 1)) return NaN;
  if (probability === 0) return -Infinity;
  if (probability > 0.5) return -normalQuantile(1 - probability);
  // A rough start (the leading behaviour of the tail), then Halley's rule, which triples the digits each time.
  const depth = Math.sqrt(-2 * Math.log(probability));
  let x =
    probability > 0.1 ? (probability - 0.5) / density(0) : -(depth - Math.log(depth * Math.sqrt(2 * Math.PI)) / depth);
  for (let i = 0; i < 8; i++) {
    const error = (normalCdf(x) - probability) / density(x);
    x -= error / (1 + 0.5 * x * error);
  }
  return x;
}

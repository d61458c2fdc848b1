/** Rules for integrals over [0, 1]: where a function is looked at, and what each look weighs. */

/** Gauss and Legendre's points, denser at both ends, or evenly spaced ones. */
export type QuadratureRule = "gauss-legendre" | "trapezoid";

/** A point of [0, 1] and its weight. */
export interface QuadratureNode {
  readonly share: number;
  readonly weight: number;
}

/** The points of each rule: as many as `steps` within the interval, or the ends of as many even steps. */
export const quadratureRules: Readonly<Record<QuadratureRule, (steps: number) => QuadratureNode[]>> = {
  "gauss-legendre": gaussLegendre,
  trapezoid(steps) {
    const weight = (k: number) => (k === 0 || k === steps ? 0.5 : 1) / steps;
    return Array.from({ length: steps + 1 }, (_, k) => ({ share: k / steps, weight: weight(k) }));
  },
};

/**
 * Gauss and Legendre's rule of `steps` points within (0, 1), which integrates polynomials of degree 2 steps - 1 exactly.
 * The points are roots of the Legendre polynomial, found by Newton's method.
 */
function gaussLegendre(steps: number): QuadratureNode[] {
  return Array.from({ length: steps }, (_, k): QuadratureNode => {
    let x = -Math.cos((Math.PI * (k + 0.75)) / (steps + 0.5));
    let slope = 1;
    for (let iteration = 0; iteration < 20; iteration++) {
      const { value, derivative } = legendre(steps, x);
      slope = derivative;
      const change = value / derivative;
      x -= change;
      if (Math.abs(change) < 1e-15) break;
    }
    return { share: (1 + x) / 2, weight: 1 / ((1 - x * x) * slope * slope) };
  });
}

/** The Legendre polynomial of that degree and its derivative at x in (-1, 1), by the three-term recurrence. */
function legendre(degree: number, x: number): { value: number; derivative: number } {
  let [before, value] = [1, x];
  for (let n = 2; n <= degree; n++) [before, value] = [value, ((2 * n - 1) * x * value - (n - 1) * before) / n];
  return { value, derivative: (degree * (before - x * value)) / (1 - x * x) };
}

/** Numbers on a plane that wraps around, smoothed by a Gaussian. */

/** `values` [height, width] smoothed by a Gaussian of `deviation` pixels, cut at four deviations; edges meet. */
export function smooth(
  values: Float64Array,
  [height, width]: readonly [number, number],
  deviation: number,
): Float64Array {
  const reach = Math.ceil(4 * deviation);
  const raw = Array.from({ length: 2 * reach + 1 }, (_, i) =>
    deviation === 0 ? 1 : Math.exp(-((i - reach) ** 2) / (2 * deviation ** 2)),
  );
  const total = raw.reduce((a, b) => a + b, 0);
  const kernel = raw.map((weight) => weight / total);
  const lines = along(values, height, width, 1, width, kernel);
  return along(lines, width, height, width, 1, kernel);
}

/** `lines` circular convolutions of `length` numbers that lie `step` apart; the lines begin `apart` from each other. */
function along(
  values: Float64Array,
  lines: number,
  length: number,
  step: number,
  apart: number,
  kernel: readonly number[],
): Float64Array {
  const result = new Float64Array(values.length);
  const reach = (kernel.length - 1) / 2;
  const start = Math.ceil(reach / length) * length - reach; // never below 0, so that % is enough
  const wrapped = new Float64Array(length + 2 * reach);
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < wrapped.length; i++)
      wrapped[i] = values[line * apart + ((start + i) % length) * step] as number;
    for (let i = 0; i < length; i++) {
      let sum = 0;
      for (let k = 0; k < kernel.length; k++) sum += (kernel[k] as number) * (wrapped[i + k] as number);
      result[line * apart + i * step] = sum;
    }
  }
  return result;
}

/** Adam (Kingma & Ba 2014, algorithm 1), uphill: a step of about the learning rate in every number. */

const [decay1, decay2, epsilon] = [0.9, 0.999, 1e-8];

/** A function of numbers and their gradient that returns the numbers moved, and remembers the gradients that it has seen. */
export function adam(
  size: number,
  learningRate: number,
): (numbers: Float32Array, gradient: Float32Array) => Float32Array {
  const mean = new Float64Array(size);
  const square = new Float64Array(size);
  let steps = 0;
  return (numbers, gradient) => {
    steps += 1;
    const [unbias1, unbias2] = [1 - decay1 ** steps, 1 - decay2 ** steps];
    return numbers.map((x, i) => {
      const g = gradient[i] as number;
      const m = decay1 * (mean[i] as number) + (1 - decay1) * g;
      const v = decay2 * (square[i] as number) + (1 - decay2) * g * g;
      mean[i] = m;
      square[i] = v;
      return x + (learningRate * (m / unbias1)) / (Math.sqrt(v / unbias2) + epsilon);
    });
  };
}

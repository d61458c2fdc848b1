/**
 * What gradient ascent moves: pixels themselves, or the picture's spatial frequencies in decorrelated colours, in which
 * steps of one size reach all scales alike (Olah et al. 2017, "Feature visualization", on preconditioning). Frequencies are
 * those of the real Fourier basis, orthonormal along each axis, so that the way back is the transpose.
 */
import { usageError } from "../errors.js";
import { add, cast, clip, constant, log, matmul, mul, neg, reshape, sigmoid, sub, type Value } from "../graph/index.js";
import { solve } from "../linalg/index.js";
import { tensorOf } from "../runtime/index.js";

export interface Parametrisation {
  /** Parameters [batch, channels, height, width] to pictures of that shape, within the range. */
  readonly decode: (parameters: Value) => Value;
  /** Parameters of a picture: the inverse, but for numbers that `decode` reaches only at infinity. */
  readonly encode: (image: Value) => Value;
  /** Where parameters themselves must stay. */
  readonly bounds?: readonly [number, number];
}

/** A square matrix, by rows. */
type Rows = readonly (readonly number[])[];

/** Sizes of a picture, and the least and largest of its numbers. */
export interface Picture {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly range: readonly [number, number];
}

/** Pixels as they are, kept within the range after every step. */
export const pixels = ({ range }: Picture): Parametrisation => ({
  decode: (parameters) => parameters,
  encode: (image) => image,
  bounds: range,
});

/**
 * How the colours of photographs go together: the root of their covariance over ImageNet, [colours][components], as Olah
 * et al. 2017 publish it.
 */
const photographs: Rows = [
  [0.26, 0.09, 0.02],
  [0.27, 0, -0.05],
  [0.27, -0.09, 0.03],
];

/** How near to the ends of its range a picture that is encoded may come, as a share of it: the ends lie at infinity. */
const closest = 1e-4;

/**
 * Frequencies, divided by how many there are to a picture's length; colours; and a sigmoid that keeps pictures in range.
 *
 * @param colours [channels][channels], a root of the covariance of colours; that of photographs where there are three
 *   channels, unless given
 * @throws where the matrix is of another size or has no inverse
 */
export async function fourier(
  { channels, height, width, range: [low, high] }: Picture,
  colours?: Rows,
): Promise<Parametrisation> {
  const mixing = scaledColours(colours ?? (channels === 3 ? photographs : identity(channels)), channels);
  const inverse = await inverseOf(mixing);
  const [down, across] = [realFourier(height), realFourier(width)];
  const gains = frequencies(height).map((y) =>
    frequencies(width).map((x) => 1 / (4 * Math.max(Math.hypot(x, y), 1 / Math.max(height, width)))),
  );
  return {
    decode(parameters) {
      const spectrum = mul(parameters, matrixLike(parameters, gains));
      const waves = matmul(matmul(matrixLike(spectrum, transposed(down)), spectrum), matrixLike(spectrum, across));
      return add(mul(sigmoid(mixed(waves, mixing)), high - low), low);
    },
    encode(image) {
      const share = clip(mul(sub(image, low), 1 / (high - low)), { min: closest, max: 1 - closest });
      const waves = mixed(sub(log(share), log(add(neg(share), 1))), inverse);
      const spectrum = matmul(matmul(matrixLike(waves, down), waves), matrixLike(waves, transposed(across)));
      return mul(
        spectrum,
        matrixLike(
          spectrum,
          gains.map((row) => row.map((gain) => 1 / gain)),
        ),
      );
    },
  };
}

const transposed = (rows: Rows): Rows => (rows[0] ?? []).map((_, j) => rows.map((row) => row[j] as number));

const identity = (size: number): Rows =>
  Array.from({ length: size }, (_, i) => Array.from({ length: size }, (_, j) => Number(i === j)));

/** Cycles to a pixel of every wave of `realFourier`. */
const frequencies = (size: number): number[] => Array.from({ length: size }, (_, k) => Math.ceil(k / 2) / size);

/** Waves [size][places], orthonormal: the constant, then a cosine and a sine of every frequency. */
function realFourier(size: number): Rows {
  return Array.from({ length: size }, (_, k) => {
    const alone = k === 0 || (k === size - 1 && size % 2 === 0); // no sine goes with the constant and the fastest wave
    const wave = k % 2 === 0 ? Math.sin : Math.cos;
    return Array.from({ length: size }, (_, x) => {
      const angle = (2 * Math.PI * Math.ceil(k / 2) * x) / size;
      return Math.sqrt((alone ? 1 : 2) / size) * (k === 0 ? 1 : wave(angle));
    });
  });
}

/** The matrix, its longest column of length 1. */
function scaledColours(colours: Rows, channels: number): Rows {
  if (colours.length !== channels || colours.some((row) => row.length !== channels || !row.every(Number.isFinite)))
    throw usageError(`colours must be ${channels} rows of ${channels} numbers, as many as the image has channels`);
  const longest = Math.max(...transposed(colours).map((column) => Math.hypot(...column)));
  return colours.map((row) => row.map((x) => x / longest));
}

async function inverseOf(matrix: Rows): Promise<Rows> {
  const size = matrix.length;
  const asTensor = (rows: Rows) => tensorOf("float64", [size, size], rows.flat());
  const { data } = await solve(asTensor(matrix), asTensor(identity(size)));
  return identity(size).map((row, i) => row.map((_, j) => data[i * size + j] as number));
}

function matrixLike(x: Value, rows: Rows): Value {
  const dtype = x.dtype === "float64" ? "float64" : "float32";
  return cast(constant(tensorOf(dtype, [rows.length, rows[0]?.length ?? 0], rows.flat())), x.dtype);
}

/** Channels [batch, channels, height, width] mixed by a matrix. */
function mixed(x: Value, matrix: Rows): Value {
  const [batch, channels, height, width] = x.shape as readonly [number, number, number, number];
  const flat = reshape(x, [batch, channels, height * width]);
  return reshape(matmul(matrixLike(x, matrix), flat), x.shape);
}

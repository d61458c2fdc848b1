/**
 * The set of pictures that an attack may use: those within a distance of the original, in a norm, whose numbers lie in a
 * range. Steps are made in float64, and what is rounded to float32 is rounded towards the original, so that no picture
 * leaves the set by a rounding error.
 */
import { usageError } from "../errors.js";
import { type Random, type Tensor, tensor } from "../runtime/index.js";

/** `linf`: the largest change of any number. `l2`: the square root of the sum of all changes squared. */
export type NormName = "linf" | "l2";

export interface Ball {
  /** [batch, ...]; the bound holds for each row. */
  readonly original: Tensor<"float32">;
  readonly epsilon: number;
  readonly norm: NormName;
  readonly range: readonly [number, number];
}

/** Throws where the bound is none, or the original lies outside the range. */
export function checkBall({ original, epsilon, norm, range: [low, high] }: Ball): void {
  if (norm !== "linf" && norm !== "l2") throw usageError(`norm must be "linf" or "l2", not "${String(norm)}"`);
  if (!(epsilon >= 0 && epsilon < Infinity)) throw usageError(`epsilon must be a number of at least 0, not ${epsilon}`);
  if (!(low < high)) throw usageError(`range must be two rising numbers, not [${low}, ${high}]`);
  const outside = original.data.find((x) => !(x >= low && x <= high));
  if (outside === undefined) return;
  throw usageError(
    `the picture holds ${outside}, outside of the range [${low}, ${high}] of its numbers: give the \`range\` of the network's input`,
  );
}

/** Places [start, end) of every row. */
function rowsOf({ shape, data }: { readonly shape: readonly number[]; readonly data: ArrayLike<number> }) {
  const batch = shape[0] as number;
  const size = batch === 0 ? 0 : data.length / batch;
  return Array.from({ length: batch }, (_, b) => [b * size, (b + 1) * size] as const);
}

const lengthOf = (changes: Float64Array): number => Math.sqrt(changes.reduce((sum, x) => sum + x * x, 0));

const word = new Int32Array(1);
const float = new Float32Array(word.buffer);

/** The float32 after `x` on the way to `goal`. */
function nextTowards(x: number, goal: number): number {
  if (x === 0) return Math.sign(goal) * 2 ** -149;
  float[0] = x;
  word[0] = (word[0] as number) + (x > 0 === goal > x ? 1 : -1);
  return float[0];
}

/** `origin + change` as float32, no farther from the origin than the change is long. */
function roundedChange(origin: number, change: number): number {
  const rounded = Math.fround(origin + change);
  return Math.abs(rounded - origin) <= Math.abs(change) ? rounded : nextTowards(rounded, origin);
}

/** The float32 nearest to `bound` on the side of `inner`. */
function roundedBound(bound: number, inner: number): number {
  const rounded = Math.fround(bound);
  return Math.abs(rounded - inner) <= Math.abs(bound - inner) ? rounded : nextTowards(rounded, inner);
}

/** The picture of the ball that is nearest to `places`, which are numbers of the original's shape. */
export function projected({ original, epsilon, norm, range }: Ball, places: Float64Array): Tensor<"float32"> {
  const [least, most] = [roundedBound(range[0], range[1]), roundedBound(range[1], range[0])];
  const result = new Float32Array(places.length);
  for (const [start, end] of rowsOf(original)) {
    const origin = original.data.subarray(start, end);
    const changes = places.slice(start, end).map((x, i) => x - (origin[i] as number));
    const length = norm === "l2" ? lengthOf(changes) : 0;
    const scale = length > epsilon ? (epsilon / length) * (1 - 1e-12) : 1; // the sum of squares rounds too
    changes.forEach((change, i) => {
      const kept = norm === "l2" ? change * scale : Math.min(Math.max(change, -epsilon), epsilon);
      const moved = roundedChange(origin[i] as number, kept);
      result[start + i] = Math.min(Math.max(moved, least), most);
    });
  }
  return tensor("float32", original.shape, result);
}

/** Every row moved by `size` along its gradient as the norm measures length: along its sign, or along its direction. */
export function stepped(image: Tensor<"float32">, gradient: Tensor, size: number, norm: NormName): Float64Array {
  const places = Float64Array.from(image.data);
  for (const [start, end] of rowsOf(image)) {
    const slope = Float64Array.from(gradient.data.subarray(start, end) as Float32Array);
    const length = norm === "l2" ? lengthOf(slope) : 1;
    if (length === 0) continue;
    slope.forEach((g, i) => {
      places[start + i] = (places[start + i] as number) + size * (norm === "l2" ? g / length : Math.sign(g));
    });
  }
  return places;
}

/** A picture at random: every number evenly within the bound, or a place evenly within the ball. */
export function randomInBall(ball: Ball, source: Random): Tensor<"float32"> {
  const { original, epsilon, norm } = ball;
  const places = Float64Array.from(original.data);
  const even = norm === "linf";
  for (const [start, end] of rowsOf(original)) {
    const length = end - start;
    const changes = Float64Array.from({ length }, () => (even ? 2 * source.uniform() - 1 : source.normal()));
    const scale = even ? epsilon : (epsilon * source.uniform() ** (1 / length)) / lengthOf(changes);
    changes.forEach((change, i) => {
      places[start + i] = (places[start + i] as number) + change * scale;
    });
  }
  return projected(ball, places);
}

/** A picture on the edge of the ball at random: every number changed by epsilon up or down, or a normal direction. */
export function randomOnBall(ball: Ball, source: Random): Tensor<"float32"> {
  const draw = () => (ball.norm === "linf" ? source.uniform() - 0.5 : source.normal());
  const direction = tensor("float32", ball.original.shape, ball.original.data.map(draw));
  return projected(ball, stepped(ball.original, direction, ball.epsilon, ball.norm));
}

/** How far each row of `image` lies from that of the original, in both norms. */
export function distancesOf(original: Tensor<"float32">, image: Tensor<"float32">) {
  const changes = rowsOf(original).map(([start, end]) =>
    Float64Array.from(image.data.subarray(start, end), (x, i) => x - (original.data[start + i] as number)),
  );
  return {
    linf: changes.map((row) => row.reduce((most, x) => Math.max(most, Math.abs(x)), 0)),
    l2: changes.map(lengthOf),
  };
}

/**
 * Steering: a view of a model whose activations move along vectors. Vectors, strengths and thresholds are inputs of the
 * graph, so that another strength needs no other session, and everything that works on a model works on the view.
 */
import { usageError } from "../errors.js";
import {
  add,
  and,
  div,
  greater,
  max,
  mul,
  reduceSum,
  reduceSumSquare,
  sqrt,
  sub,
  type Value,
  where,
} from "../graph/index.js";
import { type Clamp, type Model, parseSite } from "../model/index.js";
import { type Tensor, tensorOf } from "../runtime/index.js";
import { steerableSite, tokenShape } from "./activations.js";
import { type Positions, positionSuffix, singlePosition } from "./positions.js";
import type { SteeringVector } from "./vector.js";

/**
 * With v the vector, u its direction and s the strength: `add`: x + s v. `remove`: x - s (x.u) u, at 1 all of the
 * component. `set`: x + (s - x.u) u, so that the component is s in the units of activations (`vector.means` says what it
 * is in each class). `rotate`: x + s v at the length of x.
 */
export type SteeringMode = "add" | "remove" | "set" | "rotate";

/** What decides whether a token is steered: whether its cosine with the vector at the vector's site is above the threshold. */
export interface TokenCondition {
  readonly vector: SteeringVector;
  readonly threshold: number;
}

export interface SteerOptions {
  /** One for all vectors, or one for each; 1 unless given. */
  readonly strength?: number | readonly number[];
  /** Tokens that are steered; all unless given. While generating, `last` is the newest token. */
  readonly positions?: Positions;
  /** `add` unless given. */
  readonly mode?: SteeringMode;
  /** Steer only tokens that pass, at the vectors' own site. */
  readonly when?: TokenCondition;
}

/**
 * A view of the model that is steered along one vector or several, in the order given. For rows of a batch, or a
 * decision for each prompt, see `conditionalSteering`.
 *
 * Throws where the model has no such site, a vector does not fit it, or a condition belongs to another site.
 *
 * @example steer(model, vector, { strength: 1.5, positions: { from: -4 } }).record(prompt, "layers.20.residPost")
 */
export function steer(
  model: Model,
  vectors: SteeringVector | readonly SteeringVector[],
  options: SteerOptions = {},
): Model {
  return model.with(...steeringClamps(model, vectors, options));
}

/** The clamps of `steer`; with `rows`, only the rows of a batch for which it holds true are steered. */
export function steeringClamps(
  model: Model,
  vectors: SteeringVector | readonly SteeringVector[],
  { strength = 1, positions = "all", mode = "add", when }: SteerOptions,
  rows?: readonly boolean[],
): Clamp[] {
  const list = [vectors].flat() as SteeringVector[];
  const strengths = typeof strength === "number" ? list.map(() => strength) : strength;
  if (list.length === 0) throw usageError("there is no vector to steer along");
  if (strengths.length !== list.length)
    throw usageError(`${strengths.length} strengths were given for ${list.length} vectors`);
  if (!Object.hasOwn(modes, mode))
    throw usageError(`the mode is one of ${Object.keys(modes).join(", ")}, not "${mode}"`);
  const suffix = positionSuffix(positions);
  return list.map((vector, i) => {
    const size = checkVector(model, vector);
    const moved = modes[mode](vector, checkStrength(strengths[i] as number));
    const gates = [...tokenGate(when, vector, model), ...rowGate(rows, size, positions)];
    const steps = [moved, ...gates];
    return {
      name: "steer",
      reference: parseSite(vector.site + suffix),
      operandsAt: () => steps.flatMap((step) => step.operands),
      apply(x, values) {
        const [steered, ...passed] = applyEach(steps, x, values) as [Value, ...Value[]];
        return passed.length === 0 ? steered : where(passed.reduce(and), steered, x);
      },
    };
  });
}

type Operand = ReturnType<Clamp["operandsAt"]>[number];

/** A traced function of a site's value, and the numbers that it takes. */
interface Step {
  readonly operands: readonly Operand[];
  readonly apply: (x: Value, operands: readonly Value[]) => Value;
}

/** Every step applied to the same value, each with its own operands out of all of them. */
function applyEach(steps: readonly Step[], x: Value, values: readonly Value[]): Value[] {
  const rest = [...values];
  return steps.map((step) => step.apply(x, rest.splice(0, step.operands.length)));
}

const whole = (tensor: Tensor<"float32">): Operand => ({ kind: "whole", tensor });
const scalar = (x: number) => whole(tensorOf("float32", [], [x]));

/** Sums over the dimensions of a token's value, kept as ones. */
const tokenAxes = (x: Value) => x.shape.map((_, d) => d).slice(2);
const along = (x: Value, u: Value) => reduceSum(mul(x, u), tokenAxes(x), { keepDims: true });
const lengths = (x: Value) => sqrt(reduceSumSquare(x, tokenAxes(x), { keepDims: true }));

const modes: Readonly<Record<SteeringMode, (vector: SteeringVector, strength: number) => Step>> = {
  add: (vector, strength) => ({
    operands: [scaled(vector, strength)],
    apply: (x, [step]) => add(x, step as Value),
  }),
  remove: (vector, strength) => ({
    operands: [direction(vector), scalar(strength)],
    apply: (x, [u, s]) => sub(x, mul(mul(along(x, u as Value), s as Value), u as Value)),
  }),
  set: (vector, strength) => ({
    operands: [direction(vector), scalar(strength)],
    apply: (x, [u, s]) => add(x, mul(sub(s as Value, along(x, u as Value)), u as Value)),
  }),
  rotate: (vector, strength) => ({
    operands: [scaled(vector, strength)],
    apply(x, [step]) {
      const moved = add(x, step as Value);
      return mul(moved, div(lengths(x), max(lengths(moved), 1e-30))); // a token moved to zero stays there
    },
  }),
};

function direction(vector: SteeringVector): Operand {
  if (vector.norm > 0) return scaled(vector, 1 / vector.norm);
  throw usageError(`the vector at ${vector.site} has no direction: its length is ${vector.norm}`);
}

function scaled({ vector }: SteeringVector, factor: number): Operand {
  return whole(
    tensorOf(
      "float32",
      vector.shape,
      vector.data.map((x) => x * factor),
    ),
  );
}

/** Whether a token's cosine with the condition is above the threshold. */
function tokenGate(when: TokenCondition | undefined, { site }: SteeringVector, model: Model): Step[] {
  if (when === undefined) return [];
  const { vector, threshold } = when;
  if (!sameSite(model, vector.site, site))
    throw usageError(
      `a token's condition is read where it is steered, at ${site}, and this one belongs to ${vector.site}: use conditionalSteering`,
    );
  checkVector(model, vector);
  if (!Number.isFinite(threshold)) throw usageError(`the threshold must be finite, not ${threshold}`);
  return [
    {
      operands: [direction(vector), scalar(threshold)],
      apply: (x, [u, limit]) => greater(along(x, u as Value), mul(lengths(x), limit as Value)),
    },
  ];
}

function sameSite(model: Model, a: string, b: string): boolean {
  return a === b || model.sites(a).some(({ aliases }) => aliases.includes(b));
}

/** Which rows of a batch are steered: 1 or 0 for each, in the shape of what the positions select. */
function rowGate(rows: readonly boolean[] | undefined, size: readonly number[], positions: Positions): Step[] {
  if (rows === undefined) return [];
  const dropped = singlePosition(positions) !== undefined;
  const shape = [rows.length, ...(dropped ? [] : [1]), ...size.map(() => 1)];
  const tensor = tensorOf("float32", shape, rows.map(Number));
  return [{ operands: [{ kind: "aligned", operand: { tensor } }], apply: (_, [open]) => greater(open as Value, 0.5) }];
}

/** The shape of a token's value at the vector's site. Throws where the vector has another. */
function checkVector(model: Model, { site, vector }: SteeringVector): number[] {
  const size = tokenShape(steerableSite(model, site));
  if (vector.shape.join() !== size.join())
    throw usageError(
      `the vector has shape [${vector.shape.join(", ")}]; a token at ${site} of this model has [${size.join(", ")}]`,
    );
  return size;
}

function checkStrength(strength: number): number {
  if (Number.isFinite(strength)) return strength;
  throw usageError(`a strength must be finite, not ${strength}`);
}

/** What optimizers share: zero state beside each parameter, decay of weights, and bias corrections as scalars. */
import { constantLike, mul, pow, sub, type Value } from "../../graph/index.js";
import { type Tensor, zeros } from "../../runtime/index.js";
import type { Update, Updated } from "../optimizer.js";
import type { Rate } from "./schedules.js";

/** Weight decay: how much, and which parameters (by path) have it; all unless given. */
export interface Decay {
  readonly rate: number;
  readonly on?: (name: string) => boolean;
}

/** A number is a decay of every parameter. */
export type DecayOption = number | Decay;

/** The decay of a parameter. */
export function decayOf(option: DecayOption, name: string): number {
  if (typeof option === "number") return option;
  return option.on?.(name) === false ? 0 : option.rate;
}

/** Zeros in the shape of each parameter, as `kind.parameter`. */
export function zeroState(
  parameters: ReadonlyMap<string, Tensor<"float32">>,
  kinds: readonly string[],
): Map<string, Tensor> {
  return new Map(
    [...parameters].flatMap(([name, { shape }]) =>
      kinds.map((kind) => [`${kind}.${name}`, zeros("float32", shape)] as const),
    ),
  );
}

/** 1 - decay^step. */
export function correction(decay: number, step: Value): Value {
  return sub(1, pow(constantLike(step, decay), step));
}

/** The parameter after decoupled decay: p (1 - rate * decay). */
export function decayed(parameter: Value, rate: Value, decay: number): Value {
  return decay === 0 ? parameter : mul(parameter, sub(1, mul(rate, decay)));
}

/** What a rule gets for one parameter, and what it returns. */
export interface OneParameter {
  readonly name: string;
  readonly parameter: Value;
  readonly gradient: Value;
  /** A piece of the parameter's state by kind. */
  readonly state: (kind: string) => Value;
}

/** A step that treats each parameter by itself. */
export function eachParameter(
  { parameters, gradients, state }: Update,
  rule: (one: OneParameter) => { readonly parameter: Value; readonly state: Readonly<Record<string, Value>> },
): Updated {
  const made = [...parameters].map(([name, parameter]) => {
    const read = (kind: string) => state.get(`${kind}.${name}`) as Value;
    return [name, rule({ name, parameter, gradient: gradients.get(name) as Value, state: read })] as const;
  });
  return {
    parameters: new Map(made.map(([name, { parameter }]) => [name, parameter])),
    state: new Map(
      made.flatMap(([name, { state: own }]) => Object.entries(own).map(([kind, x]) => [`${kind}.${name}`, x] as const)),
    ),
  };
}

/** What nearly every optimizer takes. */
export interface CommonOptions {
  /** Learning rate, or a schedule of it. */
  readonly rate?: Rate;
}

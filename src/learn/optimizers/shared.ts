/** What optimizers share: zero state beside each parameter, decay of weights, and bias corrections as scalars. */
import { usageError } from "../../errors.js";
import { add, expm1, mul, neg, sub, type Value } from "../../graph/index.js";
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

/** 1 - decay^step, exact to float32's last digits also where the decay is near 1 and the step early. */
export function correction(decay: number, step: Value): Value {
  return neg(expm1(mul(step, Math.log(decay))));
}

/** The decay itself. Throws where it does not lie from 0 (with it) to 1 (without). */
export function checkedDecay(optimizer: string, name: string, decay: number): number {
  if (decay >= 0 && decay < 1) return decay;
  throw usageError(`${optimizer}: ${name} lies from 0 to below 1, not ${decay}`);
}

/** The gradient with the decay of weights that is a penalty of their squares: g + decay p. */
export function coupled(gradient: Value, parameter: Value, decay: number): Value {
  return decay === 0 ? gradient : add(gradient, mul(parameter, decay));
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

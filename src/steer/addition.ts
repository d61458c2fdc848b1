/**
 * Activation addition as Turner et al. 2023 did it: two short prompts, token by token. The difference of their streams at
 * every position is added to the first positions of another prompt.
 */
import { usageError } from "../errors.js";
import { add, type Model, type Prompt, recorded } from "../model/index.js";
import { type Tensor, tensorOf } from "../runtime/index.js";
import { steerableSite } from "./activations.js";

export interface AdditionOptions {
  readonly positive: Prompt;
  /** A prompt of as many tokens. */
  readonly negative: Prompt;
  readonly site: string;
  /** Factor of the difference; 1 unless given. */
  readonly strength?: number;
  /** The position that the first difference is added at; 0 unless given. */
  readonly from?: number;
}

/**
 * A view whose prompts get strength times the two prompts' difference at positions `from`, `from` + 1, ...
 *
 * A prompt that is shorter can't be run on it. Throws where the two differ in length, so that their tokens do not match.
 */
export async function activationAddition(
  model: Model,
  { positive, negative, site, strength = 1, from = 0 }: AdditionOptions,
): Promise<Model> {
  const { name } = steerableSite(model, site);
  if (!Number.isInteger(from) || from < 0) throw usageError(`from must be a position of at least 0, not ${from}`);
  const [own, other] = model.tokensAll([positive, negative]).map((tokens) => tokens.length) as [number, number];
  if (own !== other)
    throw usageError(
      `the positive prompt has ${own} tokens and the negative ${other}: pad the shorter, so that they match`,
    );
  const value = recorded(await model.record([positive, negative], name), name) as Tensor<"float32">;
  const [, ...shape] = value.shape;
  const size = value.data.length / 2;
  const difference = tensorOf(
    "float32",
    shape,
    Float64Array.from(
      { length: size },
      (_, i) => strength * ((value.data[i] as number) - (value.data[size + i] as number)),
    ),
  );
  return model.with(add(`${name}[:, ${from}:${from + own}]`, difference));
}

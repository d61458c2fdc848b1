/**
 * A steering vector as plain data: a direction at a site with what is known of it. It lives in a `.safetensors` file whose
 * tensors go by their sites, so that Python reads it, and so does every clamp that takes `FILE:name`.
 */
import { failure, messageOf, usageError } from "../errors.js";
import { type ModelIdentity, readSafetensors, writeSafetensors } from "../model/index.js";
import { normals, type Tensor, tensorOf } from "../runtime/index.js";
import type { DirectionMethod } from "./directions.js";
import { checkPositions, type Positions } from "./positions.js";

export interface SteeringVector {
  readonly site: string;
  /** float32 in the shape of one token's value at the site: [width] in the residual stream, [heads, size] at attn.z. */
  readonly vector: Tensor<"float32">;
  /** Its Euclidean length. */
  readonly norm: number;
  /** How it was made; see `steeringVectors`, `refineSteering`, `randomVector`. */
  readonly method: DirectionMethod | "refined" | "random";
  /** Where in its prompts it was read. */
  readonly positions: Positions;
  /** Mean length of the activations that it was made from: what its own length is large or small against. */
  readonly activationNorm: number;
  /** Mean component of each class along the direction, in the units of activations. */
  readonly means?: { readonly positive: number; readonly negative: number };
  /** Of prompts that were held out of the fit, the share on their own side of the classes' midpoint. */
  readonly separation?: { readonly accuracy: number; readonly folds: number };
  /** How many prompts it was made from. */
  readonly prompts: number;
  readonly model: ModelIdentity;
}

const format = "patchclamp steering 1";

/** The Euclidean length of a vector. */
export function lengthOf({ data }: Tensor<"float32">): number {
  return Math.hypot(...data);
}

/** A random vector, seeded, of the same site and length as another, to compare its effect with (a control). */
export function randomVector(like: SteeringVector, seed = 0): SteeringVector {
  const draws = normals(like.vector.data.length, seed);
  const factor = like.norm / Math.hypot(...draws);
  const vector = tensorOf(
    "float32",
    like.vector.shape,
    draws.map((x) => x * factor),
  );
  const { site, positions, activationNorm, model } = like;
  return { site, vector, norm: lengthOf(vector), method: "random", positions, activationNorm, prompts: 0, model };
}

/** Writes steering vectors, at most one a site, to a `.safetensors` file, whole or not at all. */
export async function saveSteering(vectors: SteeringVector | readonly SteeringVector[], path: string): Promise<void> {
  const list = [vectors].flat() as SteeringVector[];
  if (list.length === 0) throw usageError("there is no steering vector to save");
  const twice = list.find(({ site }, i) => list.findIndex((other) => other.site === site) < i);
  if (twice !== undefined)
    throw usageError(`two vectors steer at ${twice.site}, whose name a file can hold once: save them apart`);
  const tensors = Object.fromEntries(list.map(({ site, vector }) => [site, vector]));
  const facts = list.map(({ vector: _, ...rest }) => rest);
  await writeSafetensors(path, tensors, { format, vectors: JSON.stringify(facts) });
}

/** Reads steering vectors back, in the order in which they were saved. Throws where the file holds none. */
export async function loadSteering(path: string): Promise<SteeringVector[]> {
  const { tensors, metadata } = await readSafetensors(path);
  if (metadata.format !== format)
    throw failure(
      `${path} holds no steering vectors: its metadata says format "${metadata.format ?? ""}", not "${format}"`,
    );
  try {
    const facts: unknown = JSON.parse(metadata.vectors ?? "");
    if (!Array.isArray(facts) || facts.length === 0) throw new Error("it is not a list of vectors");
    return facts.map((entry) => readVector(entry, tensors));
  } catch (error) {
    throw failure(`${path} has damaged metadata (vectors): ${messageOf(error)}`, error);
  }
}

const methods = ["meanDifference", "pca", "logistic", "ridge", "refined", "random"];

function readVector(entry: unknown, tensors: Readonly<Record<string, Tensor>>): SteeringVector {
  const fields = objectOf(entry, "an entry");
  const { site, method, positions, prompts, means, separation } = fields;
  if (typeof site !== "string") throw new Error("an entry has no site");
  const vector = tensors[site];
  if (vector?.dtype !== "float32" || vector.data.length === 0) throw new Error(`there is no float32 tensor "${site}"`);
  if (!vector.data.every((x) => Number.isFinite(x))) throw new Error(`"${site}" is not finite`);
  if (!methods.includes(method as string)) throw new Error(`${site}: the method is none of ${methods.join(", ")}`);
  checkPositions(positions as Positions);
  const identity = objectOf(fields.model, `${site}: the model`);
  const text = (name: string) => {
    if (typeof identity[name] !== "string")
      throw new Error(`${site}: the model is not { name, source, hash, precision }`);
    return identity[name];
  };
  return {
    site,
    vector: vector as Tensor<"float32">,
    norm: lengthOf(vector as Tensor<"float32">),
    method: method as SteeringVector["method"],
    positions: positions as Positions,
    activationNorm: numberOf(fields, "activationNorm"),
    ...(means === undefined ? {} : { means: numbersOf(means, ["positive", "negative"]) }),
    ...(separation === undefined ? {} : { separation: numbersOf(separation, ["accuracy", "folds"]) }),
    prompts: numberOf({ prompts }, "prompts"),
    model: { name: text("name"), source: text("source"), hash: text("hash"), precision: text("precision") },
  };
}

function objectOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  throw new Error(`${what} is not an object`);
}

function numberOf(fields: Readonly<Record<string, unknown>>, name: string): number {
  const value = fields[name];
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw new Error(`${name} is not a number`);
}

function numbersOf<Name extends string>(value: unknown, names: readonly Name[]): Record<Name, number> {
  const fields = objectOf(value, names.join(" and "));
  return Object.fromEntries(names.map((name) => [name, numberOf(fields, name)])) as Record<Name, number>;
}

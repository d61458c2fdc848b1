/**
 * An architecture says how a family of checkpoints maps to the one decoder: its configuration, and where each canonical
 * weight lies under the family's own names. One file an architecture, one line in the table.
 */
import { failure, nearestNames } from "../../errors.js";
import { type DecoderConfig, decoderWeights } from "../decoder/config.js";
import type { WeightPlan } from "../formats/index.js";
import { type Fields, shown } from "./fields.js";

/** Whether a stored tensor of that name exists: some checkpoints leave out what others hold. */
export type Has = (tensor: string) => boolean;

/** A checkpoint understood: the decoder's configuration, and a plan for every canonical weight. */
export interface Mapping {
  readonly config: DecoderConfig;
  readonly plan: readonly WeightPlan[];
}

export interface Architecture {
  readonly name: string;
  /** `model_type` of config.json files that it reads. */
  readonly modelTypes: readonly string[];
  /** `general.architecture` of GGUF files that it reads. */
  readonly ggufArchitectures: readonly string[];
  fromConfig(fields: Fields, has: Has): Mapping;
  fromGguf(fields: Fields, has: Has): Mapping;
}

/** Where a canonical weight comes from; its shape is the decoder's. */
export type Origin = Omit<WeightPlan, "name" | "shape">;

/** A plan for every weight of a configuration; `origin` is asked for each. */
export function planWeights(config: DecoderConfig, origin: (name: string) => Origin): WeightPlan[] {
  return [...decoderWeights(config)].map(([name, shape]) => ({ name, shape, ...origin(name) }));
}

/** Splits a canonical weight's name: `layers.3.attn.q.weight` to layer 3, `attn.q`, `weight`. */
export function splitWeightName(name: string): { layer: number | undefined; part: string; kind: string } {
  const match = /^(?:layers\.(\d+)\.)?(.+)\.(weight|bias)$/.exec(name);
  if (match === null) throw failure(`"${name}" is not a canonical weight`);
  return {
    layer: match[1] === undefined ? undefined : Number(match[1]),
    part: match[2] as string,
    kind: match[3] as string,
  };
}

/** The architecture of a checkpoint, or an error that lists what is known. */
export function findArchitecture(
  table: readonly Architecture[],
  key: "modelTypes" | "ggufArchitectures",
  value: unknown,
  where: string,
): Architecture {
  const found = table.find((architecture) => architecture[key].includes(value as string));
  if (found !== undefined) return found;
  const known = table.flatMap((architecture) => architecture[key]);
  const nearest = typeof value === "string" ? `; the nearest of these is ${nearestNames(value, known, 1)[0]}` : "";
  throw failure(`${where} has the architecture ${shown(value)}; known ones are ${known.join(", ")}${nearest}`);
}

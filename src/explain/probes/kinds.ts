/** The probes by name, so that what runs many of them (over sites, over control labels) takes any. */
import { usageError } from "../../errors.js";
import type { Tensor } from "../../runtime/index.js";
import type { ClassProbe } from "./classification.js";
import type { ProbeFeatures } from "./features.js";
import type { Label } from "./labels.js";
import { type LinearProbeOptions, linearProbe } from "./linear.js";
import { type LogisticProbeOptions, logisticProbe } from "./logistic.js";
import { type RidgeProbe, type RidgeProbeOptions, ridgeProbe } from "./ridge.js";

/** A probe of classes and its options. */
export type ClassProbeSpec =
  | ({ readonly kind: "linear" } & LinearProbeOptions)
  | ({ readonly kind: "logistic" } & LogisticProbeOptions);

/** Any probe and its options. */
export type ProbeSpec = ClassProbeSpec | ({ readonly kind: "ridge" } & RidgeProbeOptions);

/** What a probe predicts: labels of classes, or numbers (`ridge`). */
export type ProbeLabels = ArrayLike<Label> | Tensor;

/** Runs a probe of classes. */
export function classProbe(
  features: ProbeFeatures,
  labels: ArrayLike<Label>,
  spec: ClassProbeSpec,
): Promise<ClassProbe> {
  if (spec.kind === "linear") return linearProbe(features, labels, spec);
  if (spec.kind === "logistic") return logisticProbe(features, labels, spec);
  throw usageError(`a probe of classes is linear or logistic, not "${(spec as ProbeSpec).kind}"`);
}

/** Runs any probe. Throws where a tensor or texts are given for what the probe does not predict. */
export async function anyProbe(
  features: ProbeFeatures,
  labels: ProbeLabels,
  spec: ProbeSpec,
): Promise<ClassProbe | RidgeProbe> {
  const list = "dtype" in labels ? undefined : Array.from(labels);
  if (spec.kind === "ridge") {
    const numbers = list?.filter((label) => typeof label === "number");
    if (list?.length !== numbers?.length) throw usageError("a ridge probe predicts numbers; these labels are texts");
    return ridgeProbe(features, numbers ?? (labels as Tensor), spec);
  }
  if (list === undefined) throw usageError("a probe of classes takes a list of labels, not a tensor");
  return classProbe(features, list, spec);
}

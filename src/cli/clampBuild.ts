/** From clamps as data to clamps of an opened model: files are read once each, tensors found by name. */
import { located, nearestNames, usageError } from "../errors.js";
import {
  add,
  type Clamp,
  type ClampValue,
  loadRecording,
  type Model,
  mean,
  patch,
  project,
  quantize,
  type Recording,
  readSafetensors,
  scale,
  set,
  zero,
} from "../model/index.js";
import { type Tensor, tensorOf, toNumbers } from "../runtime/index.js";
import type { ClampKind, ClampSpec } from "./clampSpec.js";

interface Files {
  tensor(path: string, name: string): Promise<Tensor>;
  recording(path: string): Promise<Recording>;
}

type Build = (spec: ClampSpec, files: Files, model: Model) => Promise<Clamp>;

const builders: Readonly<Record<ClampKind, Build>> = {
  set: async (spec, files) => set(spec.site, await operandOf(spec, files)),
  add: async (spec, files) => add(spec.site, await operandOf(spec, files)),
  scale: async (spec, files) => scale(spec.site, await operandOf(spec, files)),
  zero: async ({ site }) => zero(site),
  mean: async ({ site, file }, files) => mean(site, await files.recording(file as string)),
  patch: async ({ site, file, tensor }, files, model) =>
    patch(site, await patchSource(await files.recording(file as string), tensor, model, file as string)),
  project: async (spec, files) =>
    project(spec.site, await operandOf(spec, files), spec.keep === undefined ? {} : { keep: spec.keep }),
  quantize: async ({ site, bits }) => quantize(site, bits as number),
};

/**
 * The clamps of a model, in the order of the specs.
 * @throws usage error for an unknown tensor or site; failure for a file that cannot be read
 */
export async function buildClamps(specs: readonly ClampSpec[], model: Model): Promise<Clamp[]> {
  const files = createFiles();
  const clamps: Clamp[] = [];
  for (const spec of specs) clamps.push(await builders[spec.kind](spec, files, model));
  return clamps;
}

function createFiles(): Files {
  const tensors = new Map<string, ReturnType<typeof readSafetensors>>();
  const recordings = new Map<string, Promise<Recording>>();
  const once = <T>(known: Map<string, Promise<T>>, path: string, read: (path: string) => Promise<T>): Promise<T> => {
    const found = known.get(path) ?? read(path);
    known.set(path, found);
    return found;
  };
  return {
    recording: (path) => once(recordings, path, loadRecording),
    tensor: async (path, name) => tensorNamed((await once(tensors, path, readSafetensors)).tensors, name, path),
  };
}

function tensorNamed(tensors: Readonly<Record<string, Tensor>>, name: string, path: string): Tensor {
  const found = tensors[name];
  if (found !== undefined) return found;
  const nearest = nearestNames(name, Object.keys(tensors)).join(", ");
  throw usageError(`${path} has no tensor "${name}"; ${nearest === "" ? "it is empty" : `the nearest are ${nearest}`}`);
}

async function operandOf({ value, file, tensor, factor = 1 }: ClampSpec, files: Files): Promise<ClampValue> {
  if (value !== undefined) return value;
  const found = await files.tensor(file as string, tensor as string);
  const numbers = located(`${file}: "${tensor}"`, () => toNumbers(found));
  return tensorOf(
    "float32",
    found.shape,
    numbers.map((number) => number * factor),
  );
}

/** The recording itself, or one that holds its site `name` wherever the clamp looks. */
async function patchSource(
  recording: Recording,
  name: string | undefined,
  model: Model,
  path: string,
): Promise<Recording> {
  if (name === undefined) return recording;
  const tensor = tensorNamed(recording.sites, name, path);
  return { ...recording, sites: Object.fromEntries(model.sites().map((site) => [site.name, tensor])) };
}

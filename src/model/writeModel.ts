/**
 * A model as a folder that others read too: config.json, model.safetensors under the architecture's own names, and the
 * tokenizer's files. It is the way back through the same plan that opening takes.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { failure, messageOf, usageError } from "../errors.js";
import { elementCount, type Tensor } from "../runtime/index.js";
import { architectures, findArchitecture, jsonFields } from "./architectures/index.js";
import { narrowHalf, type WeightPlan, writeSafetensors } from "./formats/index.js";

export interface ModelParts {
  /** The contents of config.json; its `model_type` says what architecture the weights are for. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Every weight by canonical name. Of a tied model, the unembedding may be left out. */
  readonly weights: ReadonlyMap<string, Tensor<"float32">>;
  /** Further files by name, such as tokenizer.json: contents that are written as JSON. */
  readonly files?: Readonly<Record<string, unknown>>;
  /** "float16" halves the file; "float32" unless given. */
  readonly precision?: "float32" | "float16";
}

/**
 * Writes a model into a folder (made where it is absent) that `open` reads, and other libraries for its architecture too.
 *
 * @throws where a weight is missing or of another shape, or the architecture is unknown
 */
export async function writeModel(
  folder: string,
  { config, weights, files = {}, precision = "float32" }: ModelParts,
): Promise<void> {
  const fields = jsonFields(config, "the configuration");
  const architecture = findArchitecture(architectures, "modelTypes", fields.get("model_type"), "the configuration");
  const { plan } = architecture.fromConfig(fields, () => config.tie_word_embeddings !== true);
  const stored = storedTensors(plan, weights);
  await mkdir(folder, { recursive: true });
  const named = [...stored].map(([name, x]) => [name, precision === "float16" ? narrowed(x) : x] as const);
  await writeSafetensors(join(folder, "model.safetensors"), Object.fromEntries(named), { format: "pt" });
  for (const [name, contents] of Object.entries({ "config.json": config, ...files })) {
    await writeFile(join(folder, name), `${JSON.stringify(contents, null, 1)}\n`).catch((error: unknown) => {
      throw failure(`can't write ${join(folder, name)}: ${messageOf(error)}`, error);
    });
  }
}

const narrowed = ({ shape, data }: Tensor<"float32">): Tensor<"float16"> => ({
  dtype: "float16",
  shape,
  data: Uint16Array.from(data, narrowHalf),
});

/** The tensors that a plan reads, from the weights that it would give. */
export function storedTensors(
  plan: readonly WeightPlan[],
  weights: ReadonlyMap<string, Tensor<"float32">>,
): Map<string, Tensor<"float32">> {
  const stored = new Map<string, Tensor<"float32">>();
  for (const [source, entries] of bySource(plan)) {
    const whole = entries.find(({ rows, columns }) => rows === undefined && columns === undefined);
    if (whole !== undefined) stored.set(source, undone(whole, weights));
    else stored.set(source, joined(source, entries, weights));
  }
  return stored;
}

/** Entries by the tensor that they read; of several that read all of it (tied embeddings), the first counts. */
function bySource(plan: readonly WeightPlan[]): Map<string, WeightPlan[]> {
  const groups = new Map<string, WeightPlan[]>();
  for (const entry of plan) {
    if (typeof entry.from !== "string" || entry.add !== undefined)
      throw failure(`"${entry.name}" can't be written back: it is made of several tensors, or shifted`);
    groups.set(entry.from, [...(groups.get(entry.from) ?? []), entry]);
  }
  return groups;
}

/** A weight as it was before the plan's transform. */
function undone(
  { name, shape, transform }: WeightPlan,
  weights: ReadonlyMap<string, Tensor<"float32">>,
): Tensor<"float32"> {
  const value = weights.get(name);
  if (value === undefined) throw usageError(`the weight "${name}" is missing`);
  if (value.shape.join() !== shape.join())
    throw usageError(
      `the weight "${name}" is [${value.shape.join(", ")}]; the configuration says [${shape.join(", ")}]`,
    );
  if (transform === undefined) return value;
  if (transform === "transpose") return transposed(value);
  throw failure(`"${name}" can't be written back in the order of a GGUF file`);
}

/** Pieces of one tensor put together: rows of its first dimension, columns of its last. */
function joined(
  source: string,
  entries: readonly WeightPlan[],
  weights: ReadonlyMap<string, Tensor<"float32">>,
): Tensor<"float32"> {
  const parts = entries.map((entry) => ({ ...entry, value: undone(entry, weights) }));
  const size = (of: (part: (typeof parts)[number]) => readonly number[]) => {
    const [first] = parts as [(typeof parts)[number], ...(typeof parts)[number][]];
    return [
      Math.max(...parts.map((part) => part.rows?.[1] ?? (of(part)[0] as number))),
      ...(of(first).length === 1
        ? []
        : [Math.max(...parts.map((part) => part.columns?.[1] ?? (of(part)[1] as number)))]),
    ];
  };
  const shape = size(({ value }) => value.shape);
  const width = shape[1] ?? 1;
  const data = new Float32Array(elementCount(shape));
  for (const { value, rows = [0, 0], columns = [0, 0] } of parts) {
    const own = value.shape[1] ?? 1;
    for (let r = 0; r < (value.shape[0] as number); r++) {
      data.set(value.data.subarray(r * own, (r + 1) * own), (rows[0] + r) * width + columns[0]);
    }
  }
  if (parts.reduce((sum, { value }) => sum + value.data.length, 0) !== data.length)
    throw failure(`"${source}" can't be put together: its pieces do not fill it`);
  return { dtype: "float32", shape, data };
}

function transposed({ shape, data }: Tensor<"float32">): Tensor<"float32"> {
  const [rows, columns] = shape as readonly [number, number];
  const result = new Float32Array(data.length);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) result[c * rows + r] = data[r * columns + c] as number;
  return { dtype: "float32", shape: [columns, rows], data: result };
}

/**
 * Clamps: a site and a traced function of its value. The ready-made ones are one line each; `clamp` takes any function.
 * Making a clamp computes nothing; a model splices it in when it runs.
 */
import { usageError } from "../errors.js";
import {
  add as addValues,
  div,
  formatShape,
  matmul,
  max,
  mul,
  reduceMax,
  reduceMin,
  round,
  sameShape,
  sub,
  transpose,
  type Value,
} from "../graph/index.js";
import { row, type Tensor, toNumbers } from "../runtime/index.js";
import { type AlignedOperand, operandTensor } from "./operand.js";
import {
  lengthsOf,
  meanOverTokens,
  type Recording,
  recordedExtent,
  selectRecorded,
  selectTensor,
} from "./recording.js";
import { type Axis, siteKind } from "./sites/names.js";
import { type Part, parseSite, type SiteReference } from "./sites/reference.js";
import { countsTokens, describeExtent, resolvePart } from "./sites/select.js";

/** What a traced function knows besides the value. */
export interface ClampContext {
  /** The canonical name of the clamped site. */
  readonly site: string;
  /** The layer in that name, if there is one. */
  readonly layer: number | undefined;
  /** Position of each token in its row, int64 [batch, seq]; negative for padding. */
  readonly positions: Value;
}

/** A function traced into the model's graph. Its scalar constants become inputs, so that other numbers need no other graph. */
export type ClampFunction = (x: Value, context: ClampContext) => Value;

/** A number that a clamp takes: aligned to the selected part of the site as NumPy aligns shapes. */
export type ClampValue = number | ArrayLike<number> | Tensor;

/** Numbers that a clamp's function takes, at one site: `aligned` to the selection, or `whole` as they are. */
export type ClampOperand =
  | { readonly kind: "aligned"; readonly operand: AlignedOperand }
  | { readonly kind: "whole"; readonly tensor: Tensor<"float32"> };

export interface Clamp {
  /** What it does: `set`, `add`, ... */
  readonly name: string;
  readonly reference: SiteReference;
  /** Operands at one of the sites that the reference matches. */
  readonly operandsAt: (site: string, parts: readonly Part[]) => readonly ClampOperand[];
  readonly apply: (x: Value, operands: readonly Value[], context: ClampContext) => Value;
}

const noOperands = () => [];

function aligned(value: ClampValue, what: string): () => readonly ClampOperand[] {
  const operand = { tensor: operandTensor(value, what) };
  return () => [{ kind: "aligned", operand }];
}

/**
 * The selected part takes the values given. A number, or a list or tensor aligned to the selected part:
 * `set("layers.3.mlp.act[:, -1, 12]", 8)`.
 */
export function set(site: string, value: ClampValue): Clamp {
  return { name: "set", reference: parseSite(site), operandsAt: aligned(value, site), apply: (_, [v]) => v as Value };
}

/** The values given are added to the selected part. `add("layers.12.residPost", vector)` steers at every position. */
export function add(site: string, value: ClampValue): Clamp {
  return {
    name: "add",
    reference: parseSite(site),
    operandsAt: aligned(value, site),
    apply: (x, [v]) => addValues(x, v as Value),
  };
}

/** The selected part is multiplied by the values given. */
export function scale(site: string, factor: ClampValue): Clamp {
  return {
    name: "scale",
    reference: parseSite(site),
    operandsAt: aligned(factor, site),
    apply: (x, [v]) => mul(x, v as Value),
  };
}

/** The selected part is zero: `zero("layers.5.attn.z[head=3]")` ablates a head. */
export function zero(site: string): Clamp {
  return { ...set(site, 0), name: "zero" };
}

/** The selected part takes its mean over all real tokens of a recording of the whole site (mean ablation). */
export function mean(site: string, recording: Recording): Clamp {
  const operandsAt = (at: string, parts: readonly Part[]): ClampOperand[] => {
    const average = meanOverTokens(recording, at);
    const own = parts.map(
      (part, d): Part =>
        d < 2 && part.kind !== "index" ? { kind: "all" } : d < 2 ? { kind: "index", index: 0 } : part,
    );
    return [{ kind: "aligned", operand: { tensor: operandTensor(selectTensor(average, own, at), at) } }];
  };
  return { name: "mean", reference: parseSite(site), operandsAt, apply: (_, [v]) => v as Value };
}

/**
 * The selected part takes what a recording of the whole site holds at the same part (activation patching). Positions count
 * in each prompt's own tokens, so `[:, -1]` patches the recording's last token into the prompt's last. A recording of one
 * row patches into every row.
 */
export function patch(site: string, recording: Recording): Clamp {
  const reference = parseSite(site);
  const operandsAt = (at: string, parts: readonly Part[]): ClampOperand[] => {
    const lengths = lengthsOf(recording);
    const own = lengths.length === 1 ? parts.map((part, d) => (d === 0 ? sourceRow(part) : part)) : parts;
    const source = recordedExtent(recording, at);
    const tensor = operandTensor(selectRecorded(recording, { name: at, parts: own, named: {}, suffix: "" }), at);
    const first = own[0] as Part;
    const padded =
      first.kind !== "index" && source.axes.some((axis, d) => countsTokens(axis) && own[d]?.kind === "all");
    if (!padded) return [{ kind: "aligned", operand: { tensor } }];
    const { from, to } = resolvePart(first, lengths.length, describeExtent(source));
    return [{ kind: "aligned", operand: { tensor, lengths: lengths.slice(from, to) } }];
  };
  return { name: "patch", reference, operandsAt, apply: (_, [v]) => v as Value };
}

/**
 * The selected part moves towards what a recording holds there: x (1 - weight) + source weight. The weight is aligned to
 * the selected part, so that one batch can patch another position or head in every row: `[batch, seq, 1]` of zeros and
 * ones patches single positions, `[batch, 1, heads, 1]` single heads. 1 patches exactly, 0 leaves exactly.
 */
export function blend(site: string, recording: Recording, weight: ClampValue): Clamp {
  const source = patch(site, recording);
  const share = aligned(weight, site);
  return {
    name: "blend",
    reference: source.reference,
    operandsAt: (at, parts) => [...source.operandsAt(at, parts), ...share()],
    apply: (x, [other, w]) => addValues(mul(x, sub(1, w as Value)), mul(other as Value, w as Value)),
  };
}

/** The one row of a recording, kept or dropped as the target's rows are. */
function sourceRow(part: Part): Part {
  return part.kind === "index" ? { kind: "index", index: 0 } : { kind: "all" };
}

/**
 * The selected vectors lose their component in the span of the directions (`keep: "span"`: they keep only that).
 * x - U'U x with U the directions made orthonormal.
 *
 * @param directions one direction of the site's last dimension, or [count, size]
 */
export function project(
  site: string,
  directions: ClampValue,
  { keep = "rest" }: { keep?: "rest" | "span" } = {},
): Clamp {
  const basis = orthonormal(operandTensor(directions, site), site);
  return {
    name: "project",
    reference: parseSite(site),
    operandsAt: () => [{ kind: "whole", tensor: basis }],
    apply(x, [u]) {
      const span = matmul(matmul(x, transpose(u as Value, [1, 0])), u as Value);
      return keep === "span" ? span : sub(x, span);
    },
  };
}

/** Gram-Schmidt, twice for accuracy, in float64. Throws where the directions are not independent. */
function orthonormal(directions: Tensor<"float32">, site: string): Tensor<"float32"> {
  const size = directions.shape[directions.shape.length - 1];
  if (size === undefined || directions.shape.length > 2)
    throw usageError(`directions for ${site} must have shape [size] or [count, size]`);
  const rows: Float64Array[] = [];
  const count = directions.data.length / size;
  for (let i = 0; i < count; i++) {
    const vector = toNumbers(row({ ...directions, shape: [count, size] }, i));
    const length = Math.hypot(...vector);
    for (let pass = 0; pass < 2; pass++) {
      for (const other of rows) {
        const overlap = other.reduce((sum, x, j) => sum + x * (vector[j] as number), 0);
        other.forEach((x, j) => {
          vector[j] = (vector[j] as number) - overlap * x;
        });
      }
    }
    const rest = Math.hypot(...vector);
    if (!(rest > 1e-6 * length))
      throw usageError(`direction ${i} for ${site} is zero or lies in the span of those before it`);
    rows.push(vector.map((x) => x / rest));
  }
  return { dtype: "float32", shape: [count, size], data: Float32Array.from(rows.flatMap((vector) => [...vector])) };
}

/**
 * The selected part is rounded to `bits` bits: evenly spaced levels from the smallest to the largest value of each
 * vector (`per: "token"`, over the last dimension) or of each token's whole site (`per: "site"`, all heads together).
 * Asymmetric uniform quantisation: q = round((x - min) / step), x' = q step + min, step = (max - min) / (2^bits - 1).
 */
export function quantize(site: string, bits: number, { per = "token" }: { per?: "token" | "site" } = {}): Clamp {
  if (!Number.isInteger(bits) || bits < 1 || bits > 16)
    throw usageError(`bits must be a whole number from 1 to 16, not ${bits}`);
  const levels = operandTensor(2 ** bits - 1, site);
  return {
    name: "quantize",
    reference: parseSite(site),
    operandsAt: () => [{ kind: "whole", tensor: levels }],
    apply(x, [count], { site: at }) {
      const last = x.shape.length - 1;
      const own = siteKind(at)?.axes as readonly Axis[];
      const axes =
        per === "token" ? [last] : own.flatMap((axis, i) => (axis === "row" || axis === "position" ? [] : [i]));
      const low = reduceMin(x, axes, { keepDims: true });
      const step = div(sub(reduceMax(x, axes, { keepDims: true }), low), count as Value);
      const safe = max(step, 1e-30); // a constant vector has step 0 and is its own only level
      return addValues(mul(round(div(sub(x, low), safe)), step), low);
    },
  };
}

/**
 * Any function of the site's value, traced into the model: `clamp("layers.4.mlp.act[:, -1]", (x) => relu(sub(x, 1)))`.
 * The function sees the whole site and returns its shape; only the selected part takes effect.
 */
export function clamp(site: string, fn: ClampFunction): Clamp {
  return {
    name: "clamp",
    reference: parseSite(site),
    operandsAt: noOperands,
    apply(x, _, context) {
      const result = fn(x, context);
      if (result.dtype === x.dtype && sameShape(result.shape, x.shape)) return result;
      throw usageError(
        `the function returned ${result.dtype}${formatShape(result.shape)}; it must return the site's own ${x.dtype}${formatShape(x.shape)}`,
      );
    },
  };
}

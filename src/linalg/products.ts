/**
 * Matrix products at the speed of the runtime's DGEMM (some 150 times that of plain TypeScript), behind three verbs that
 * every factorisation here is phrased in. One graph with symbolic sizes serves all sizes; what is too small to be worth a
 * run (about 25 microseconds) is computed here.
 */
import { usageError } from "../errors.js";
import { matmul, sub, trace, transpose, type Value } from "../graph/index.js";
import { createRuntime, type Program, type Runtime, type Tensor } from "../runtime/index.js";
import { asMatrix, columnsOf, type Matrix, matrixOf, rowsOf, transposed, zeroMatrix } from "./matrix.js";

/** Where the large products run. */
export interface ProductOptions {
  /** A runtime to use and leave open; unless given, one of the call's own, made when first needed and closed after. */
  readonly runtime?: Runtime;
}

/** Which sides of a product are transposed on the way; neither unless said. */
export interface Transposition {
  readonly left?: boolean;
  readonly right?: boolean;
}

/** The products that factorisations are made of. */
export interface Products {
  /** left · right. */
  multiply(left: Matrix, right: Matrix, transposition?: Transposition): Promise<Matrix>;
  /** matrix − left · right. */
  subtractProduct(matrix: Matrix, left: Matrix, right: Matrix): Promise<Matrix>;
  /** rows − rows · reflectorsᵀ · triangle · reflectors: a block of reflections, applied to every row. */
  reflect(rows: Matrix, reflectors: Matrix, triangle: Matrix): Promise<Matrix>;
}

/** Multiplications below which a product is computed here: where a run of the runtime starts to be faster. */
const smallProduct = 12_000;

/** Runs `work` with products on `runtime`, or on a runtime that lives as long as the work and only if it is needed. */
export async function withProducts<T>(
  runtime: Runtime | undefined,
  work: (products: Products) => Promise<T>,
): Promise<T> {
  let own: Runtime | undefined;
  const current = () => {
    if (runtime !== undefined) return runtime;
    own ??= createRuntime();
    return own;
  };
  try {
    return await work(makeProducts(current));
  } finally {
    await own?.close();
  }
}

type Variant = "multiply" | "multiplyTL" | "multiplyTR" | "multiplyTLTR" | "subtractProduct" | "reflect";

function makeProducts(runtime: () => Runtime): Products {
  const programs = new Map<Variant, Program>();
  const run = async (variant: Variant, a: Matrix, b: Matrix, c?: Matrix): Promise<Matrix> => {
    const program = programs.get(variant) ?? runtime().compile(graphOf(variant));
    programs.set(variant, program);
    const { result } = await program.run({ a, b, ...(c === undefined ? {} : { c }) });
    return result as Matrix;
  };
  const multiply = async (a: Matrix, b: Matrix, { left = false, right = false }: Transposition = {}) => {
    const multiplications = a.data.length * (right ? rowsOf(b) : columnsOf(b));
    if (multiplications > smallProduct) return run(`multiply${left ? "TL" : ""}${right ? "TR" : ""}`, a, b);
    return smallMultiply(left ? transposed(a) : a, right ? transposed(b) : b);
  };
  return {
    multiply,
    async subtractProduct(matrix, a, b) {
      if (a.data.length * columnsOf(b) > smallProduct) return run("subtractProduct", matrix, a, b);
      return difference(matrix, smallMultiply(a, b));
    },
    async reflect(rows, reflectors, triangle) {
      if (rows.data.length * rowsOf(reflectors) > smallProduct) return run("reflect", rows, reflectors, triangle);
      const along = smallMultiply(smallMultiply(rows, transposed(reflectors)), triangle);
      return difference(rows, smallMultiply(along, reflectors));
    },
  };
}

function graphOf(variant: Variant) {
  const type = (rows: string, columns: string) => ({ dtype: "float64" as const, shape: [rows, columns] });
  const flip = (value: Value) => transpose(value, [1, 0]);
  if (variant === "subtractProduct") {
    const types = { a: type("m", "n"), b: type("m", "k"), c: type("k", "n") };
    return trace(({ a, b, c }) => ({ result: sub(a, matmul(b, c)) }), types);
  }
  if (variant === "reflect") {
    const types = { a: type("r", "m"), b: type("b", "m"), c: type("b", "b") };
    return trace(({ a, b, c }) => ({ result: sub(a, matmul(matmul(matmul(a, flip(b)), c), b)) }), types);
  }
  const [left, right] = [variant.includes("TL"), variant.includes("TR")];
  const types = { a: left ? type("k", "m") : type("m", "k"), b: right ? type("n", "k") : type("k", "n") };
  return trace(({ a, b }) => ({ result: matmul(left ? flip(a) : a, right ? flip(b) : b) }), types);
}

function smallMultiply(left: Matrix, right: Matrix): Matrix {
  const [rows, inner, columns] = [rowsOf(left), columnsOf(left), columnsOf(right)];
  const result = zeroMatrix(rows, columns);
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < inner; k++) {
      const factor = left.data[i * inner + k] as number;
      for (let j = 0; j < columns; j++) {
        result.data[i * columns + j] =
          (result.data[i * columns + j] as number) + factor * (right.data[k * columns + j] as number);
      }
    }
  }
  return result;
}

function difference(a: Matrix, b: Matrix): Matrix {
  return matrixOf(
    rowsOf(a),
    columnsOf(a),
    a.data.map((value, at) => value - (b.data[at] as number)),
  );
}

/**
 * The product left · right in float64, either side transposed on the way: [m, k] and [k, n] give [m, n].
 *
 * Throws where the inner sizes differ and for numbers that are not finite.
 */
export async function product(
  left: Tensor,
  right: Tensor,
  { runtime, transpose: transposition = {} }: ProductOptions & { readonly transpose?: Transposition } = {},
): Promise<Matrix> {
  const [a, b] = [asMatrix(left, "the left matrix"), asMatrix(right, "the right matrix")];
  const inner = transposition.left === true ? rowsOf(a) : columnsOf(a);
  const needed = transposition.right === true ? columnsOf(b) : rowsOf(b);
  if (inner !== needed) {
    throw usageError(
      `the inner sizes of [${a.shape.join(", ")}] and [${b.shape.join(", ")}] are ${inner} and ${needed}`,
    );
  }
  return withProducts(runtime, (products) => products.multiply(a, b, transposition));
}

/**
 * The Gram matrix: XᵀX [columns, columns] of `matrix` X, or XXᵀ [rows, rows] with `of: "rows"`; exactly symmetric.
 */
export async function gram(
  matrix: Tensor,
  { runtime, of = "columns" }: ProductOptions & { readonly of?: "columns" | "rows" } = {},
): Promise<Matrix> {
  const x = asMatrix(matrix);
  return withProducts(runtime, (products) => gramWith(products, x, of));
}

/** The Gram matrix by given products: see `gram`. */
export async function gramWith(products: Products, x: Matrix, of: "columns" | "rows"): Promise<Matrix> {
  return symmetrised(await products.multiply(x, x, of === "columns" ? { left: true } : { right: true }));
}

/** (A + Aᵀ) / 2. */
export function symmetrised(matrix: Matrix): Matrix {
  const other = transposed(matrix);
  return { ...matrix, data: matrix.data.map((value, at) => value / 2 + (other.data[at] as number) / 2) };
}

/** Moments of a matrix' columns, and how the columns vary together. */
import { usageError } from "../../errors.js";
import type { Tensor } from "../../runtime/index.js";
import { asMatrix, columnMeans, columnsOf, type Matrix, rowsOf, scaleColumns, subtractFromRows } from "../matrix.js";
import { gram, type ProductOptions } from "../products.js";

/**
 * Mean and mean squared deviation (divided by the number of rows) of every column of `matrix` [rows, columns]. Two passes,
 * so that a mean far from zero costs no digits.
 */
export function columnMoments(matrix: Tensor): { mean: Float64Array; variance: Float64Array } {
  const { means, centred } = centre(asMatrix(matrix));
  return { mean: means, variance: columnMeans({ ...centred, data: centred.data.map((x) => x * x) }) };
}

/**
 * The covariance of every pair of columns, [columns, columns], of `matrix` [rows, columns].
 *
 * @param options.ddof the sum is divided by rows - ddof; 1 unless given
 */
export async function covarianceMatrix(
  matrix: Tensor,
  { ddof = 1, ...options }: ProductOptions & { readonly ddof?: number } = {},
): Promise<Matrix> {
  const x = asMatrix(matrix);
  const divisor = rowsOf(x) - ddof;
  if (!(divisor > 0)) throw usageError(`a covariance of ${rowsOf(x)} rows needs ddof below ${rowsOf(x)}, not ${ddof}`);
  const sums = await gram(centre(x).centred, options);
  return { ...sums, data: sums.data.map((sum) => sum / divisor) };
}

/**
 * Pearson's correlation of every pair of columns, [columns, columns], of `matrix` [rows, columns], at least 2 rows. Ones
 * on the diagonal; NaN in the row and column of a column that is constant.
 */
export async function correlationMatrix(matrix: Tensor, options: ProductOptions = {}): Promise<Matrix> {
  const x = asMatrix(matrix);
  if (rowsOf(x) < 2) throw usageError("a correlation needs at least 2 rows, not 1");
  const { centred } = centre(x);
  const norms = columnMoments(x).variance.map((variance) => Math.sqrt(variance * rowsOf(x)));
  const unit = scaleColumns(
    centred,
    norms.map((norm) => (norm > 0 ? 1 / norm : 0)),
  );
  const cosines = await gram(unit, options);
  const columns = columnsOf(x);
  const data = cosines.data.map((cosine, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns];
    if (norms[i] === 0 || norms[j] === 0) return NaN;
    return i === j ? 1 : Math.min(1, Math.max(-1, cosine));
  });
  return { ...cosines, data };
}

/** The columns minus their means, which are corrected for what the rounding of the first pass left over. */
function centre(matrix: Matrix): { means: Float64Array; centred: Matrix } {
  const first = columnMeans(matrix);
  const residues = columnMeans(subtractFromRows(matrix, first));
  const means = first.map((mean, j) => mean + (residues[j] as number));
  return { means, centred: subtractFromRows(matrix, means) };
}

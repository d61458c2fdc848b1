/**
 * Rearrangements of row-major matrices: what stands between a weight as a checkpoint stores it and as a product wants it.
 * All of them move bits (as 32-bit integers, so that no NaN changes) into a new array.
 */

/** The edge of a tile: its rows and columns stay in the nearest cache while it is turned. */
const tile = 32;

/** The transpose of a [rows, columns] matrix. */
export function transposed(matrix: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(matrix.length);
  const source = new Int32Array(matrix.buffer, matrix.byteOffset, matrix.length);
  const target = new Int32Array(result.buffer);
  for (let row = 0; row < rows; row += tile) {
    const rowEnd = Math.min(row + tile, rows);
    for (let column = 0; column < columns; column += tile) {
      const columnEnd = Math.min(column + tile, columns);
      for (let c = column; c < columnEnd; c++) {
        for (let r = row; r < rowEnd; r++) target[c * rows + r] = source[r * columns + c] as number;
      }
    }
  }
  return result;
}

/** Columns [from, to) of a matrix whose rows hold `columns` values. */
export function columnRange(
  matrix: Float32Array,
  columns: number,
  [from, to]: readonly [number, number],
): Float32Array {
  const rows = matrix.length / columns;
  const result = new Float32Array(rows * (to - from));
  for (let row = 0; row < rows; row++) {
    result.set(matrix.subarray(row * columns + from, row * columns + to), row * (to - from));
  }
  return result;
}

/**
 * Undoes the order in which Llama-shaped GGUF files hold the rows of q and k. Rotary embedding turns row j of a head with
 * row j + headSize / 2; those files store the two next to each other, as rows 2j and 2j + 1. The rows must be whole heads.
 */
export function rotaryHalves(matrix: Float32Array, columns: number, headSize: number): Float32Array {
  const result = new Float32Array(matrix.length);
  const half = headSize / 2;
  const rows = matrix.length / columns;
  for (let row = 0; row < rows; row++) {
    const within = row % headSize;
    const to = row - within + (within % 2) * half + (within >> 1);
    result.set(matrix.subarray(row * columns, (row + 1) * columns), to * columns);
  }
  return result;
}

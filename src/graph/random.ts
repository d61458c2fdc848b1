/**
 * Seeded random numbers that are a function of (seed, stream, position) and nothing else: Philox4x32-10 (Salmon et al.,
 * "Parallel random numbers: as easy as 1, 2, 3", 2011). The same numbers on every platform, in any order, from any worker.
 */

const multiplier0 = 0xd2511f53;
const multiplier1 = 0xcd9e8d57;
const weyl0 = 0x9e3779b9;
const weyl1 = 0xbb67ae85;

/** One block: four 32-bit words from a counter of four words and a key of two. */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const low0 = Math.imul(multiplier0, c0) >>> 0;
    const low1 = Math.imul(multiplier1, c2) >>> 0;
    const high0 = multiplyHigh(multiplier0, c0);
    const high1 = multiplyHigh(multiplier1, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + weyl0) >>> 0;
    k1 = (k1 + weyl1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The upper 32 bits of the product of two unsigned 32-bit numbers. */
function multiplyHigh(a: number, b: number): number {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const cross = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(cross / 65536)) >>> 0;
}

/** A stream of random numbers. Reading advances `position` (in 32-bit words); nothing else is state. */
export interface Random {
  /** A 32-bit unsigned integer. */
  word(): number;
  /** A number in (0, 1): (word + 1/2) / 2^32. */
  uniform(): number;
  /** A whole number in [0, limit), unbiased. */
  integer(limit: number): number;
  /** A standard normal number by Box and Muller, in pairs: every second call uses the second of a pair. */
  normal(): number;
}

/**
 * The stream of a seed.
 *
 * @param seed any whole number from 0 to 2^32 - 1
 * @param stream another such number: streams of one seed are independent
 */
export function random(seed: number, stream = 0): Random {
  let block = 0;
  let words: readonly number[] = [];
  let next = 4;
  let spare: number | undefined;
  const word = (): number => {
    if (next === 4) {
      words = philox4x32([block >>> 0, Math.floor(block / 2 ** 32) >>> 0, 0, 0], [seed >>> 0, stream >>> 0]);
      block += 1;
      next = 0;
    }
    return words[next++] as number;
  };
  const uniform = () => (word() + 0.5) * 2 ** -32;
  const integer = (limit: number): number => {
    const usable = 2 ** 32 - (2 ** 32 % limit);
    for (;;) {
      const drawn = word();
      if (drawn < usable) return drawn % limit;
    }
  };
  const normal = (): number => {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
  return { word, uniform, integer, normal };
}

/** `count` standard normal numbers, rounded to float32. */
export function normals(count: number, seed: number, stream = 0): Float32Array {
  const source = random(seed, stream);
  return Float32Array.from({ length: count }, () => source.normal());
}

/** k-means against scikit-learn from the same centres, k-means++ by what it finds, and what must come out the same. */
import { afterAll, describe, expect, it } from "vitest";
import fixture from "../../test/fixtures/linalg/statistics.json" with { type: "json" };
import { createRuntime, type Tensor, tensorOf } from "../runtime/index.js";
import { type KMeansStep, kMeans } from "./index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const { points, clusterings, best } = fixture.kmeans;
const matrix = (rows: readonly (readonly number[])[]) =>
  tensorOf("float64", [rows.length, rows[0]?.length ?? 0], rows.flat());
const x = matrix(points);

/** Sum of squared distances to the nearest centre, in plain loops. */
function inertiaByHand(rows: readonly (readonly number[])[], centres: Tensor): number {
  const [count = 0, columns = 0] = centres.shape;
  const distance = (row: readonly number[], k: number) =>
    row.reduce((sum, value, j) => sum + (value - Number(centres.data[k * columns + j])) ** 2, 0);
  return rows.reduce((sum, row) => sum + Math.min(...Array.from({ length: count }, (_, k) => distance(row, k))), 0);
}

describe("k-means", () => {
  it.each(clusterings)("agrees with scikit-learn from $name centres", async (stored) => {
    const found = await kMeans(x, { clusters: 4, start: matrix(stored.start), runtime });
    expect(Array.from(found.labels)).toEqual(stored.labels);
    expect(found.iterations).toBe(stored.iterations);
    expect(found.converged).toBe(true);
    stored.centres.flat().forEach((value, at) => {
      expect(Math.abs((found.centres.data[at] as number) - value)).toBeLessThan(1e-12 * 50); // means of numbers near 50
    });
    expect(Math.abs(found.inertia - stored.inertia)).toBeLessThan(1e-10 * stored.inertia); // float64 sums
    expect(Math.abs(found.inertia - inertiaByHand(points, found.centres))).toBeLessThan(1e-10 * stored.inertia);
  });

  it("finds the best clustering that is known by its own starts, the same for the same seed", async () => {
    const first = await kMeans(x, { clusters: 4, seed: 1, runtime });
    expect(Math.abs(first.inertia - best)).toBeLessThan(1e-10 * best); // scikit-learn's best of 50
    expect(await kMeans(x, { clusters: 4, seed: 1, runtime })).toEqual(first);
  });

  it("spreads its starts: k-means++ begins far below rows drawn without care", async () => {
    const firstInertia = async (options: { start?: Tensor; seed?: number }) => {
      const steps: KMeansStep[] = [];
      const onStep = (step: KMeansStep) => steps.push(step);
      await kMeans(x, { clusters: 4, restarts: 1, runtime, onStep, ...options });
      return (steps[0] as KMeansStep).inertia;
    };
    let careful = 0;
    let careless = 0;
    for (let seed = 0; seed < 20; seed++) {
      careful += (await firstInertia({ seed })) / 20;
      const rows = Array.from({ length: 4 }, (_, i) => points[(seed * 37 + i * 11) % 120] as number[]);
      careless += (await firstInertia({ start: matrix(rows) })) / 20;
    }
    expect(careful).toBeLessThan(0.7 * careless);
    expect(careful).toBeGreaterThan(best); // and yet they are starts, not results
  });

  it("never raises the inertia, and reports every step", async () => {
    const steps: KMeansStep[] = [];
    const start = matrix(clusterings.find(({ name }) => name === "poor")?.start as number[][]);
    const found = await kMeans(x, { clusters: 4, start, runtime, onStep: (step) => steps.push(step) });
    expect(steps.map(({ iteration }) => iteration)).toEqual(Array.from({ length: found.iterations }, (_, i) => i + 1));
    steps.slice(1).forEach(({ inertia }, i) => {
      expect(inertia).toBeLessThanOrEqual((steps[i] as KMeansStep).inertia * (1 + 1e-12)); // rounding of the last step
    });
    const cut = await kMeans(x, { clusters: 4, start, runtime, maxIterations: 2 });
    expect(cut).toMatchObject({ iterations: 2, converged: false });
    expect(cut.inertia).toBeGreaterThan(found.inertia);
    expect(Math.abs(cut.inertia - inertiaByHand(points, cut.centres))).toBeLessThan(1e-10 * cut.inertia);
  });

  it("keeps the digits of tight clusters far from the origin", async () => {
    const far = points.map((row) => row.map((value) => value + 1e6));
    const [near, moved] = [
      await kMeans(x, { clusters: 4, runtime }),
      await kMeans(matrix(far), { clusters: 4, runtime }),
    ];
    expect(Math.abs(moved.inertia - near.inertia)).toBeLessThan(1e-6 * near.inertia); // input rounded at 1e-10
  });

  it("gives blocks of rows the same answer as the whole", async () => {
    const wide = 2 ** 14; // columns, so that a block holds 64 rows
    const data = new Float64Array(130 * wide);
    for (let i = 0; i < 130; i++) data[i * wide + (i % 2)] = 10 + (i % 3);
    const found = await kMeans(tensorOf("float64", [130, wide], data), { clusters: 2, restarts: 1, runtime });
    expect(Array.from(found.labels, (label) => (label === found.labels[0] ? 0 : 1))).toEqual(
      Array.from({ length: 130 }, (_, i) => i % 2),
    );
  });

  it("handles rows that coincide, one cluster, and as many clusters as rows", async () => {
    const same = await kMeans(matrix(Array.from({ length: 6 }, () => [1, 2])), { clusters: 3, runtime });
    expect(same).toMatchObject({ inertia: 0, converged: true });
    expect(Array.from(same.centres.data)).toEqual([1, 2, 1, 2, 1, 2]);
    const one = await kMeans(matrix([[1], [2], [6]]), { clusters: 1, runtime });
    expect(Array.from(one.centres.data)).toEqual([3]);
    const all = await kMeans(matrix([[1], [2], [6]]), { clusters: 3, runtime });
    expect(all.inertia).toBe(0);
    expect(new Set(all.labels).size).toBe(3);
  });

  it("refuses what makes no sense", async () => {
    await expect(kMeans(x, { clusters: 121 })).rejects.toThrow(/121 clusters need as many rows; there are 120/);
    await expect(kMeans(x, { clusters: 0 })).rejects.toThrow(/clusters/);
    await expect(kMeans(x, { clusters: 3, start: matrix([[1, 2, 3]]) })).rejects.toThrow(/\[1, 3\], not \[3, 3\]/);
    await expect(kMeans(matrix([[1, Infinity]]), { clusters: 1 })).rejects.toThrow(/finite/);
    await expect(kMeans(x, { clusters: 2, runtime, signal: AbortSignal.abort("stop") })).rejects.toBe("stop");
  });
});

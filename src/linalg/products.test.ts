import { afterAll, describe, expect, it } from "vitest";
import { apart, flipped, times } from "../../test/fixtures/linalg/check.js";
import { noise } from "../../test/fixtures/linalg/matrices.js";
import { createRuntime, tensorOf } from "../runtime/index.js";
import { gram, product, transposed } from "./index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

describe("product", () => {
  it.each([5, 40])("multiplies with either side transposed, small or by the runtime (size %i)", async (size) => {
    const [a, b] = [noise(size, size + 1), noise(size + 1, size + 2, 500)];
    const expected = times(a, b).data;
    for (const left of [false, true]) {
      for (const right of [false, true]) {
        const sides = [left ? flipped(a) : a, right ? flipped(b) : b] as const;
        const found = await product(...sides, { runtime, transpose: { left, right } });
        expect(found.shape).toEqual([size, size + 2]);
        expect(apart(found.data, expected)).toBeLessThan(1e-14); // the order of 40 additions
        expect(apart(found.data, times(a, noise(size + 1, size + 2, 501)).data)).toBeGreaterThan(0.1); // the control
      }
    }
  });

  it("makes its own runtime where it needs one, and takes float32", async () => {
    const a = tensorOf("float32", [40, 40], noise(40, 40).data);
    expect((await product(a, noise(40, 40))).dtype).toBe("float64");
  });

  it("refuses sizes that do not fit", async () => {
    await expect(product(noise(2, 3), noise(2, 3))).rejects.toThrow(/inner sizes of \[2, 3\] and \[2, 3\] are 3 and 2/);
  });
});

describe("gram", () => {
  it("is exactly symmetric, of columns or rows", async () => {
    const a = noise(70, 50);
    const columns = await gram(a, { runtime });
    expect(columns.data).toEqual(transposed(columns).data);
    expect(apart(columns.data, times(flipped(a), a).data)).toBeLessThan(1e-14);
    expect(apart((await gram(a, { runtime, of: "rows" })).data, times(a, flipped(a)).data)).toBeLessThan(1e-14);
  });
});

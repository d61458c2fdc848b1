/** The grammar of site references: what is printed parses back, and what is wrong is said. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Axis } from "./names.js";
import { globPattern, type Part, parseSite, partsFor } from "./reference.js";

const axisNames = ["row", "position", "key", "head", "neuron", "channel", "expert", "token"] as const;
const index = fc.integer({ min: -200, max: 200 });
const part: fc.Arbitrary<Part> = fc.oneof(
  fc.constant<Part>({ kind: "all" }),
  index.map((at): Part => ({ kind: "index", index: at })),
  fc.tuple(index, index).map(([from, to]): Part => ({ kind: "range", from, to })),
  index.map((from): Part => ({ kind: "range", from })),
  index.map((to): Part => ({ kind: "range", to })),
);

const print = (own: Part) =>
  own.kind === "all" ? ":" : own.kind === "index" ? `${own.index}` : `${own.from ?? ""}:${own.to ?? ""}`;

describe("parseSite", () => {
  it("reads back what is printed, with any spaces", () => {
    const written = fc.record({
      name: fc.constantFrom("embed", "layers.3.mlp.act", "layers.*.attn.z", "**", "layers.{0,2}.residPost@before"),
      parts: fc.array(part, { maxLength: 4 }),
      named: fc.dictionary(fc.constantFrom(...axisNames), part, { maxKeys: 3, noNullPrototype: true }),
      space: fc.constantFrom("", " ", "  "),
    });
    fc.assert(
      fc.property(written, ({ name, parts, named, space }) => {
        const pieces = [
          ...parts.map(print),
          ...Object.entries(named).map(([axis, own]) => `${axis}${space}=${space}${print(own)}`),
        ];
        fc.pre(pieces.length > 0);
        const suffix = `[${pieces.map((piece) => space + piece + space).join(",")}]`;
        expect(parseSite(`${space}${name}${suffix}${space}`)).toEqual({ name, parts, named, suffix });
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  it("reads a name without a suffix", () => {
    expect(parseSite(" layers.0.residPre ")).toEqual({ name: "layers.0.residPre", parts: [], named: {}, suffix: "" });
  });

  it.each([
    ["", "is not a site: expected a name"],
    ["[0]", "is not a site"],
    ["layers 3", "is not a site"],
    ["a[0", "is not a site"],
    ["a[0]]", "is not a site"],
    ["a[0][1]", "is not a site"],
    ["a[0]b", "is not a site"],
    ["a[]", '"" is not an index: expected a whole number, a range a:b, or :'],
    ["a[1,]", '"" is not an index'],
    ["a[1.5]", '"1.5" is not an index'],
    ["a[--1]", '"--1" is not an index'],
    ["a[1:2:3]", '"1:2:3" is not an index'],
    ["a[head]", '"head" is not an index'],
    ["a[head=]", '"" is not an index'],
    ["a[head=x]", '"x" is not an index'],
    ["a[head=1=2]", '"head=1=2" has more than one ='],
    ["a[head=1, 2]", "parts by order must come before parts by name"],
    ["a[head=1, head=2]", '"head" does not name a dimension once; the names are row, position, key, head'],
    ["a[heads=1]", '"heads" does not name a dimension once'],
    ["a[toString=1]", '"toString" does not name a dimension once'],
  ])("refuses %j", (text, message) => {
    expect(() => parseSite(text)).toThrow(message);
    if (text !== "") expect(() => parseSite(text)).toThrow(text);
  });
});

describe("partsFor", () => {
  const axes: Axis[] = ["row", "position", "head", "headChannel"];
  const parts = (text: string) => partsFor(parseSite(text), axes, "layers.0.attn.z");
  const all: Part = { kind: "all" };
  const three: Part = { kind: "index", index: 3 };

  it.each<[string, Part[]]>([
    ["z", [all, all, all, all]],
    ["z[:, 3]", [all, three, all, all]],
    ["z[head=3]", [all, all, three, all]],
    ["z[:, 1:, head=3]", [all, { kind: "range", from: 1 }, three, all]],
    ["z[head=3, row=3]", [three, all, three, all]],
    ["z[:, :, :, 3]", [all, all, all, three]],
  ])("of %s", (text, wanted) => {
    expect(parts(text)).toEqual(wanted);
  });

  it.each([
    [
      "z[0, 0, 0, 0, 0]",
      "layers.0.attn.z[0, 0, 0, 0, 0] has 5 parts; the site has 4 dimensions [row, position, head, headChannel]",
    ],
    ["z[neuron=1]", 'layers.0.attn.z has no dimension called "neuron"; it has [row, position, head, headChannel]'],
    ["z[:, 1, position=2]", 'layers.0.attn.z[:, 1, position=2] selects dimension "position" twice'],
  ])("refuses %s", (text, message) => {
    expect(() => parts(text)).toThrow(message);
  });
});

describe("globPattern", () => {
  it.each([
    ["layers.*.mlp.act", "layers.12.mlp.act", true],
    ["layers.*.mlp.act", "layers.1.2.mlp.act", false],
    ["layers.*", "layers.1.residPost", false],
    ["layers.**", "layers.1.attn.z", true],
    ["**.z", "layers.1.attn.z", true],
    ["**", "embed", true],
    ["*", "embed", true],
    ["*", "a.b", false],
    ["layers.{0,2}.residPost", "layers.2.residPost", true],
    ["layers.{0,2}.residPost", "layers.1.residPost", false],
    ["layers.{1, 2}.x", "layers.2.x", true],
    ["layers.1*.x", "layers.12.x", true],
    ["layers.1?.x", "layers.12.x", false],
    ["layersX0", "layers.0", false],
    ["layers.0", "layersX0", false],
    ["a(b|c)+$^\\", "a(b|c)+$^\\", true],
    ["layers.0", "layers.01", false],
  ])("%s on %s: %s", (glob, name, wanted) => {
    expect(globPattern(glob).test(name)).toBe(wanted);
  });

  it("means nothing but itself where there is no wildcard", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (name, other) => {
        fc.pre(!/[*{}]/.test(name));
        expect(globPattern(name).test(name)).toBe(true);
        expect(globPattern(name).test(other)).toBe(name === other);
      }),
      { seed: 1, numRuns: 300 },
    );
  });
});

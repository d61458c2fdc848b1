/**
 * The rooms of `src/` and their order: an import may only point down the list in docs/architecture.md, and into another
 * room only through an `index.ts`. The graph, at the bottom, knows no file, no network and no runtime.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const source = new URL("../src/", import.meta.url).pathname;

/** From the top to the bottom. `index.ts` is the package's own front, `errors.ts` lies below everything. */
const rooms = [
  "cli",
  "index.ts",
  "figures",
  "vision",
  "steer",
  "explain",
  "learn",
  "model",
  "data",
  "linalg",
  "runtime",
  "graph",
  "sources",
  "errors.ts",
];

/** Other files that another room may import, and why. */
const sideDoors: Readonly<Record<string, string>> = {
  "graph/tensor.ts": "the runtime's tensors are the graph's, and it exports exactly that file",
  "graph/random.ts": "random numbers are the same inside graphs and outside, and the runtime exports exactly that file",
  "runtime/tensor.ts": "file formats need tensors and no sessions",
};

interface Import {
  readonly from: string;
  /** A file of `src/`, or the name of a package. */
  readonly to: string;
}

const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter(
  (file) => file.endsWith(".ts") && !file.endsWith(".test.ts"),
);

function importsOf(file: string): Import[] {
  const text = readFileSync(join(source, file), "utf8");
  const specifiers = text.matchAll(/(?:^|[^.\w])(?:from|import)\s*\(?\s*"([^"]+)"/gm);
  return [...specifiers].map(([, specifier = ""]) => {
    if (!specifier.startsWith(".")) return { from: file, to: specifier };
    return { from: file, to: relative(source, join(source, dirname(file), specifier)).replace(/\.js$/, ".ts") };
  });
}

const roomOf = (file: string) => file.split("/")[0] as string;
const imports = files.flatMap(importsOf);
const inside = imports.filter(({ to }) => to.endsWith(".ts"));
const across = inside.filter(({ from, to }) => roomOf(from) !== roomOf(to));
const shown = ({ from, to }: Import) => `${from} imports ${to}`;

describe("rooms", () => {
  it("are all on the list, and their imports are found", () => {
    expect([...new Set(files.map(roomOf))].filter((room) => !rooms.includes(room))).toEqual([]);
    expect(inside.filter(({ to }) => !files.includes(to)).map(shown)).toEqual([]);
    expect(across.length).toBeGreaterThan(50);
  });

  it("import only what lies below them", () => {
    const rank = (file: string) => rooms.indexOf(roomOf(file));
    expect(across.filter(({ from, to }) => rank(to) <= rank(from)).map(shown)).toEqual([]);
  });

  it("are entered through an index.ts", () => {
    const allowed = (to: string) => /^([^/]+|.*\/index)\.ts$/.test(to) || to in sideDoors;
    expect(across.filter(({ to }) => !allowed(to)).map(shown)).toEqual([]);
  });

  it("keep the graph pure: nothing of the system, no package but the ONNX schema's", () => {
    const outside = imports.filter(({ from, to }) => roomOf(from) === "graph" && !to.endsWith(".ts"));
    expect(outside.filter(({ to }) => !to.startsWith("@bufbuild/protobuf")).map(shown)).toEqual([]);
  });

  it("are the list that the documents show", () => {
    const page = readFileSync(new URL("../docs/architecture.md", import.meta.url), "utf8");
    const listed = [...page.matchAll(/^src\/(\S+?)\/? {2,}/gm)].map(([, room]) => room);
    expect(listed).toEqual(rooms);
  });
});

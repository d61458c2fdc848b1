import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { accuracy, lens, loss } from "../../test/fixtures/figures/examples.js";
import { writeFigure } from "./index.js";
import { toPng } from "./png.js";
import { toSvg } from "./svg.js";

let folder = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "patchclamp-figures-"));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

test("writes what the extension says, and nothing else", async () => {
  await writeFigure(accuracy, join(folder, "a.svg"));
  await writeFigure([accuracy], join(folder, "a.PNG"));
  await writeFigure([lens, loss], join(folder, "a.html"));
  expect(await readFile(join(folder, "a.svg"), "utf8")).toBe(toSvg(accuracy));
  expect(new Uint8Array(await readFile(join(folder, "a.PNG")))).toEqual(new Uint8Array(toPng(accuracy)));
  expect((await readFile(join(folder, "a.html"), "utf8")).match(/<svg /g)).toHaveLength(2);
  expect((await readdir(folder)).sort()).toEqual(["a.PNG", "a.html", "a.svg"]);
});

test("replaces its target whole", async () => {
  const path = join(folder, "a.svg");
  await writeFile(path, "old ".repeat(100_000));
  await writeFigure(accuracy, path);
  expect(await readFile(path, "utf8")).toBe(toSvg(accuracy));
});

test("leaves target and folder as they were when the figure is wrong or the target cannot be replaced", async () => {
  const path = join(folder, "a.svg");
  await writeFile(path, "old");
  await expect(writeFigure({ ...accuracy, values: [] }, path)).rejects.toMatchObject({ kind: "usage" });
  expect(await readFile(path, "utf8")).toBe("old");
  await mkdir(join(folder, "b.svg"));
  await expect(writeFigure(accuracy, join(folder, "b.svg"))).rejects.toMatchObject({ kind: "failure" });
  expect((await readdir(folder)).sort()).toEqual(["a.svg", "b.svg"]);
  await expect(writeFigure(accuracy, join(path, "c.svg"))).rejects.toMatchObject({ kind: "failure" });
  await expect(writeFigure(accuracy, join(folder, "missing", "a.svg"))).rejects.toMatchObject({
    kind: "failure",
    message: expect.stringMatching(/could not be written to .*missing.*ENOENT/),
  });
});

test("refuses other extensions, and several figures in one picture", async () => {
  for (const name of ["a.pdf", "svg", "a", ".svg"]) {
    await expect(writeFigure(accuracy, join(folder, name))).rejects.toMatchObject({ kind: "usage" });
  }
  await expect(writeFigure([lens, loss], join(folder, "a.svg"))).rejects.toMatchObject({ kind: "usage" });
  await expect(writeFigure([], join(folder, "a.png"))).rejects.toMatchObject({ kind: "usage" });
  await expect(writeFigure([], join(folder, "a.html"))).rejects.toMatchObject({ kind: "usage" });
  expect(await readdir(folder)).toEqual([]);
});

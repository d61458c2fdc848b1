/** Archives whose names lead out of a folder, and what else archives of strangers hold. pip and npm are played. */
import { writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { gzipSync } from "node:zlib";
import { makeTar, makeZip, type TarEntry, wheelEntries, type ZipEntry } from "../../fixtures/sources/archives.ts";
import { fakeCommand, npmThatDelivers, pipThatDelivers } from "../../fixtures/sources/machine.ts";
import { type Call, goodFiles, type HostileCase, type Place } from "../machine.ts";
import { recordFrom } from "./calls.ts";

const kind = "path tricks in archives";

/** A PATH on which pip and npm deliver this archive. */
function played(place: Place, archive: Buffer): Call {
  const bin = join(place.work, "bin");
  const path = join(place.work, "archive");
  writeFileSync(path, archive);
  for (const name of ["python3", "pip3", "pip"]) fakeCommand(bin, name, pipThatDelivers(path));
  fakeCommand(bin, "npm", npmThatDelivers(path));
  return { args: [], environment: { PATH: `${bin}${delimiter}${process.env.PATH}` } };
}

/** A wheel of the good model, with entries changed or added. */
const wheel = (name: string, change: (entries: ZipEntry[]) => ZipEntry[], ...says: readonly string[]): HostileCase => ({
  kind,
  name: `a wheel with ${name}`,
  arrange: (place) => ({
    ...played(place, makeZip(change(wheelEntries(goodFiles())))),
    args: recordFrom(place, "pypi:tiny-model").args,
  }),
  exit: 1,
  says: ["pypi:tiny-model", ...says],
});

/** A package of the good model, with entries added. */
const tarball = (name: string, entries: readonly TarEntry[], ...says: readonly string[]): HostileCase => ({
  kind,
  name: `a package with ${name}`,
  arrange: (place) => {
    const good = Object.entries(goodFiles()).map(([file, data]) => ({ name: `package/${file}`, data }));
    return {
      ...played(place, gzipSync(makeTar([...good, ...entries]))),
      args: recordFrom(place, "npm:tiny-model").args,
    };
  },
  exit: 1,
  says: ["npm:tiny-model", ...says],
});

const adding = (entry: ZipEntry) => (entries: ZipEntry[]) => [...entries, entry];
const changing = (name: string, fields: Partial<ZipEntry>) => (entries: ZipEntry[]) =>
  entries.map((entry) => (entry.name === name ? { ...entry, ...fields } : entry));

export const archives: readonly HostileCase[] = [
  wheel("a path upwards", adding({ name: "../../config.json", data: "{}" }), "../../config.json"),
  wheel("an absolute path", adding({ name: "/etc/patchclamp", data: "x" }), "/etc/patchclamp"),
  wheel("a path of another system", adding({ name: "a\\..\\..\\b", data: "x" }), "a\\..\\..\\b"),
  wheel("a drive letter", adding({ name: "C:/x", data: "x" }), "C:/x"),
  wheel(
    "a link",
    adding({ name: "model/link", data: "/etc/passwd", mode: 0o120777 }),
    "'model/link'",
    "a link or device",
  ),
  wheel("one name twice", adding({ name: "CONFIG.json", data: "{}" }), "'CONFIG.json'", "the name occurs twice"),
  wheel(
    "a bomb",
    changing("config.json", { data: `{"a":"${" ".repeat(5e6)}"}` }),
    "'config.json' expands",
    "as a zip bomb does",
  ),
  wheel("a wrong checksum", changing("model.safetensors", { crc: 1 }), "'model.safetensors'", "wrong checksum"),
  wheel("a lying size", changing("model.safetensors", { bytes: 10 }), "model.safetensors"),
  wheel(
    "a file that its list of hashes does not hold",
    (entries) => entries.map((entry) => (entry.name === "config.json" ? { ...entry, data: "{}" } : entry)),
    "'config.json' has another hash than the wheel's RECORD says",
  ),
  tarball("a path upwards", [{ name: "package/../../x", data: "x" }], "package/../../x"),
  tarball("an absolute path", [{ name: "/etc/patchclamp", data: "x" }], "/etc/patchclamp", "an absolute path"),
  tarball(
    "a symbolic link",
    [{ name: "package/l", type: "2", link: "/etc/passwd" }],
    "'package/l'",
    "a link or device",
  ),
  tarball(
    "a hard link",
    [{ name: "package/h", type: "1", link: "package/config.json" }],
    "'package/h'",
    "a link or device",
  ),
  tarball("an entry of 2^50 bytes", [{ name: "package/big.safetensors", bytes: 2 ** 50 }], "bytes that are accepted"),
  tarball("a control character", [{ name: "package/a\u001b[2Jb", data: "x" }], "a control character"),
];

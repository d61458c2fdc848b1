/** Packages from npm's registry, through npm itself, so that the user's registry, tokens and proxies hold. */
import { mkdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { failure } from "../errors.js";
import { unpackModel } from "./archive.js";
import { type Client, runClient } from "./client.js";
import { makePlace } from "./place.js";
import { singleFile } from "./store.js";
import { withTarball } from "./tarball.js";
import type { Delivery, Place, Source, Task } from "./types.js";

/** The name with its scope, an exact version or a tag, and a file or folder in the package. */
const REFERENCE =
  /^((?:@[a-z0-9][a-z0-9._-]*\/)?[a-z0-9][a-z0-9._-]*)(?:@([A-Za-z0-9][A-Za-z0-9.+_-]{0,99}))?(?:[/:](.+))?$/;
/** npm takes a name or version that ends so for a file. */
const LIKE_A_FILE = /\.(tgz|tar\.gz|tar)$/i;

export const npm: Source = {
  scheme: "npm",
  form: "npm:NAME[@version][/file]",
  parse(body) {
    const [, name, version, path] = REFERENCE.exec(body) ?? [];
    if (name === undefined || name.length > 214 || LIKE_A_FILE.test(name) || LIKE_A_FILE.test(version ?? "")) {
      return undefined;
    }
    return makePlace("npm", name, "@", version, path);
  },
  fetch: fetchFromRegistry,
};

async function fetchFromRegistry(place: Place, task: Task): Promise<Delivery> {
  const downloads = join(task.folder, "download");
  await mkdir(downloads);
  if (!(await runClient(npmPack(place, downloads), place, task))) {
    throw failure(`${place.text}: needs npm, which is not installed`);
  }
  const tarball = await singleFile(downloads, ".tgz", place.text);
  const { size } = await stat(tarball);
  task.report({ kind: "download", file: place.name, received: size, total: size });
  return withTarball(tarball, `${place.text}: ${basename(tarball)}`, async (archive) => {
    const { files } = await unpackModel(archive, place, task.folder, place.text);
    return { version: basename(tarball), files };
  });
}

/** npm checks the package's integrity itself. It runs in the caller's folder, whose settings may name a registry. */
function npmPack(place: Place, folder: string): Client {
  const [command, ...before] = npmCommand();
  const flags = "--ignore-scripts --fetch-retries=0 --logs-max=0 --loglevel=silly --no-color --no-workspaces";
  const spec = place.version === undefined ? place.name : `${place.name}@${place.version}`;
  return {
    name: "npm",
    command,
    arguments: [
      ...before,
      "pack",
      ...flags.split(" "),
      `--pack-destination=${folder}`,
      `--cache=${join(folder, ".npm")}`,
      spec,
    ],
    cwd: process.cwd(),
    environment: {},
    answered: /npm http fetch \w+ \d{3} /,
    complaint: /^npm (?:error|ERR!) (?!code |errno )(.*)/,
  };
}

/** On Windows npm is a script for the shell; we run no shell, but the program that the script runs. */
function npmCommand(): [string, ...string[]] {
  if (process.platform !== "win32") return ["npm"];
  return [process.execPath, join(dirname(process.execPath), "node_modules", "npm", "bin", "npm-cli.js")];
}

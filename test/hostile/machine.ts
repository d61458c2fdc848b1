/**
 * One runner for every case of bad input: the built command with a home of its own, which holds a good model that was
 * opened before. Whatever the case, the command ends in one clear line and leaves every file as it was.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "vitest";
import { treeOf } from "../fixtures/sources/machine.ts";
import { serveHub } from "../fixtures/sources/servers.ts";
import { type Ended, ended, start } from "../support/cli.ts";
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
  readonly arrange: (place: Place) => Call | Promise<Call & { close?: () => Promise<void> }>;
  /** 1: the work failed, 2: the call was wrong. */
  readonly exit: 1 | 2;
  /** What the one line must say: what was wrong, where, and what would be right. `WORK` and `HOME` stand for folders. */
  readonly says: readonly string[];
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
  /** A fresh place with a home that holds the good model. */
  place(): Place;
  /** Runs the command to its end. */
  call(call: Call, place: Place): Promise<Measured>;
  close(): void;
}

export interface Measured extends Ended {
  readonly milliseconds: number;
  /** The most memory the process had (bytes); 0 where it was killed. */
  readonly peak: number;
}

/** The files of the good model, as a hub serves them. */
export function goodFiles(): Record<string, Buffer> {
  const names = ["config.json", "model.safetensors"];
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(fixture("llama-gqa"), name))]));
}

/** Fetches the good model from a hub on this machine and opens it: the home that every case starts from. */
export async function openBench(): Promise<Bench> {
  const root = mkdtempSync(join(tmpdir(), "patchclamp-hostile-"));
  const probe = join(root, "probe.mjs");
  writeFileSync(
    probe,
    'import { writeFileSync } from "node:fs";\n' +
      'process.on("exit", () => writeFileSync(process.env.HOSTILE_PEAK, `${process.resourceUsage().maxRSS}`));\n',
  );
  let count = 0;
  let baseline = 0;
  const first: Place = { folder: join(root, "first"), home: join(root, "first", "home"), work: root };
  const newPlace = (): Place => {
    const folder = join(root, `${count++}`);
    const [home, work] = [join(folder, "home"), join(folder, "work")];
    mkdirSync(work, { recursive: true });
    cpSync(first.home, home, { recursive: true });
    return { folder, home, work };
  };
  const call: Bench["call"] = async ({ args, environment = {}, input = "" }, { folder, home }) => {
    const peakFile = join(root, `peak-${count++}`);
    const temporary = join(folder, "tmp");
    mkdirSync(temporary, { recursive: true });
    const began = performance.now();
    const child = start(args, home, {
      environment: {
        HOSTILE_PEAK: peakFile,
        NODE_OPTIONS: `--import ${pathToFileURL(probe).href}`,
        TMPDIR: temporary,
        ...environment,
      },
    });
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
    const result = await ended(child);
    return { ...result, milliseconds: performance.now() - began, peak: peakOf(peakFile) };
  };
  const hub = await serveHub({ files: goodFiles(), commit: "a".repeat(40) });
  for (const model of [goodModel, fixture("gpt2"), join(fixture("llama-gguf"), "model.gguf")]) {
    const args = ["generate", "--model", model, "--ids", "5,7", "--max-tokens", "3"];
    const opened = await call({ args, environment: { HF_ENDPOINT: hub.address } }, first);
    if (opened.code !== 0) throw new Error(`a good model does not run: ${opened.stderr}`);
    baseline = opened.peak;
  }
  await hub.close();
  return {
    place: newPlace,
    call,
    close: () => rmSync(root, { recursive: true, force: true }),
    async run(hostile) {
      const place = newPlace();
      mkdirSync(join(place.folder, "tmp"));
      const { close, ...asked } = { close: undefined, ...(await hostile.arrange(place)) };
      try {
        const before = treeOf(place.folder);
        const result = await call(asked, place);
        expectOneLine(result, hostile, place);
        expect(treeOf(place.folder)).toBe(before);
        expect(result.milliseconds).toBeLessThan(patience);
        expect(result.peak - baseline).toBeLessThan(memory);
      } finally {
        await close?.();
      }
      rmSync(place.folder, { recursive: true });
    },
  };
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

function peakOf(path: string): number {
  try {
    return Number(readFileSync(path, "utf8")) * 1024;
  } catch {
    return 0;
  }
}

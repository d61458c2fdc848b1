/**
 * Package clients (pip, uv, npm) as child processes, watched: whoever shows no sign of life is stopped. A sign is a line
 * that the client prints, or growth of the folder that it downloads into.
 *
 * Three seconds from the start would be too harsh: Python alone took 0.3 s on a fast machine with warm files, and takes
 * several where they are cold, on a network drive or scanned by a virus checker; that says nothing of the network. So the
 * clock has three limits: `start` until the first line, which comes before the first connection (0.34 s of 0.69 s in all
 * for pip and a 93 MB wheel); then `answer`, the three seconds, between signs until the client says that somebody answered;
 * then `stall`, as for every transfer.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { failure } from "../errors.js";
import { silenceClock } from "./clock.js";
import { printable } from "./place.js";
import type { Place, Task } from "./types.js";

/** How often the folder's growth is looked at (milliseconds). */
const LOOK_EVERY = 200;
/** How long a client that was asked to end may take (milliseconds). */
const GRACE = 2000;
/** The exit code by which shells, and stand-ins of version managers, say that there is no such command. */
const NOT_INSTALLED = 127;
/** What is kept of a client's output: this many last lines, each cut to this many characters. */
const KEPT_LINES = 200;
const KEPT_CHARACTERS = 1000;
/** Clients write a few small files of their own before anybody answers: a folder of this size (bytes) means nothing. */
const BOOKKEEPING_BYTES = 64 * 1024;
/** How many files of a client's folder are looked at. */
const WATCHED_FILES = 1000;

export interface Client {
  /** What users call it. */
  readonly name: string;
  readonly command: string;
  readonly arguments: readonly string[];
  readonly cwd: string;
  /** Added to this process's environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** A line that matches says that somebody out there answered. */
  readonly answered: RegExp;
  /** A line that matches tells the size of the download in bytes in its first group. */
  readonly total?: RegExp;
  /** A line that matches says what went wrong, in its first group; the first such line is shown. */
  readonly complaint: RegExp;
  /** A line that matches says that the client itself is not installed. */
  readonly missing?: RegExp;
}

/** Whom a client was heard from so far: nobody, the client itself, somebody out there. */
type Heard = "nobody" | "client" | "answer";

/**
 * Runs a client to its end.
 * @returns false where it is not installed, true where it did its work
 * @throws failure where it fails or shows no sign of life; the signal's reason on abort
 */
export async function runClient(client: Client, place: Place, task: Task): Promise<boolean> {
  task.signal.throwIfAborted();
  const limits = { nobody: task.limits.start, client: task.limits.answer, answer: task.limits.stall };
  const lines: string[] = [];
  let heard: Heard = "nobody";
  let total: number | undefined;
  const clock = silenceClock(limits.nobody, () => silence(place, client.name, heard, limits[heard]));
  const hear = (answered: boolean) => {
    if (answered || heard === "nobody") heard = answered ? "answer" : "client";
    clock.restart(limits[heard]);
  };
  const onLine = (line: string) => {
    lines.push(line);
    if (lines.length > KEPT_LINES) lines.shift();
    total = Number(client.total?.exec(line)?.[1] ?? total) || undefined;
    hear(client.answered.test(line));
  };
  const stopWatching = watchGrowth(task.folder, (received) => {
    hear(true);
    task.report({ kind: "download", file: place.name, received, ...(total === undefined ? {} : { total }) });
  });
  const signal = AbortSignal.any([task.signal, clock.signal]);
  try {
    const code = await runChild(client, signal, onLine);
    signal.throwIfAborted();
    if (code === NOT_INSTALLED || (code !== 0 && lines.some((line) => client.missing?.test(line)))) return false;
    if (code !== 0) throw complaint(place, client, lines, heard);
    return true;
  } finally {
    clock.stop();
    stopWatching();
  }
}

/** Runs the child; returns its exit code. */
async function runChild(client: Client, signal: AbortSignal, onLine: (line: string) => void): Promise<number> {
  const child = spawn(client.command, client.arguments, {
    cwd: client.cwd,
    env: { ...process.env, ...client.environment },
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own, so that it can be stopped with what it starts: version managers run the real pip as a child.
    detached: process.platform !== "win32",
    windowsHide: true,
  });
  let killing: NodeJS.Timeout | undefined;
  const stop = () => {
    killGroup(child, "SIGTERM");
    killing = setTimeout(() => killGroup(child, "SIGKILL"), GRACE);
  };
  signal.addEventListener("abort", stop);
  const forget = stopWithUs(child);
  try {
    for (const output of [child.stdout, child.stderr]) splitLines(output, onLine);
    return await new Promise<number>((resolve, reject) => {
      child.once("error", (error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT" || error.code === "EACCES") resolve(NOT_INSTALLED);
        else reject(error);
      });
      child.once("close", (code) => resolve(code ?? -1));
      // A process that the client left behind may hold its output open for ever: don't wait for that.
      child.once("exit", (code) => setTimeout(() => resolve(code ?? -1), 1.5 * GRACE).unref());
    });
  } finally {
    forget();
    clearTimeout(killing);
    signal.removeEventListener("abort", stop);
    child.stdout.destroy();
    child.stderr.destroy();
  }
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  if (process.platform === "win32") {
    spawn("taskkill", ["/pid", String(child.pid), "/t", "/f"], { stdio: "ignore", windowsHide: true }).on(
      "error",
      () => {},
    );
    return;
  }
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Nobody of the group is left.
  }
}

/**
 * A group of its own does not hear the terminal's Ctrl-C: pass it on. Where nobody else listens to the signal, it then
 * ends this process as if we had not listened either. Returns how to stop listening.
 */
function stopWithUs(child: ChildProcess): () => void {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const onSignal = (signal: NodeJS.Signals) => {
    killGroup(child, "SIGTERM");
    forget();
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
  };
  const onExit = () => killGroup(child, "SIGTERM");
  const forget = () => {
    for (const signal of signals) process.off(signal, onSignal);
    process.off("exit", onExit);
  };
  for (const signal of signals) process.on(signal, onSignal);
  process.on("exit", onExit);
  return forget;
}

function splitLines(output: Readable, onLine: (line: string) => void): void {
  let rest = "";
  output.setEncoding("utf8").on("data", (text: string) => {
    const pieces = (rest + text).split(/[\r\n]+/);
    rest = (pieces.pop() ?? "").slice(0, KEPT_CHARACTERS);
    for (const piece of pieces) if (piece.trim() !== "") onLine(piece.slice(0, KEPT_CHARACTERS));
  });
}

/** Calls back with the size of the largest file in the folder whenever the folder has changed; returns how to stop. */
function watchGrowth(folder: string, onChange: (largest: number) => void): () => void {
  let last = 0;
  const look = async () => {
    const sizes = await fileSizes(folder);
    const sum = sizes.reduce((total, size) => total + size, 0);
    if (sum > BOOKKEEPING_BYTES && sum !== last && !stopped) onChange(Math.max(...sizes));
    last = sum;
    if (!stopped) timer = setTimeout(look, LOOK_EVERY);
  };
  let stopped = false;
  let timer = setTimeout(look, LOOK_EVERY);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

async function fileSizes(folder: string): Promise<number[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile()).slice(0, WATCHED_FILES);
  return Promise.all(
    files.map((file) =>
      stat(join(file.parentPath, file.name)).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
}

function silence(place: Place, name: string, heard: Heard, limit: number): Error {
  const seconds = `${limit / 1000} s`;
  if (heard === "nobody") return failure(`${place.text}: ${name} did not start within ${seconds}`);
  if (heard === "client") return failure(`${place.text} did not answer within ${seconds}`);
  return failure(`${place.text}: no byte for ${seconds}; ${name} cannot resume, so the next call starts again`);
}

function complaint(place: Place, client: Client, lines: readonly string[], heard: Heard): Error {
  if (lines.some((line) => /no space left on device|ENOSPC/i.test(line))) {
    return failure(`${place.text}: no space left on the disk`, Object.assign(new Error("ENOSPC"), { code: "ENOSPC" }));
  }
  const said = lines.find((line) => client.complaint.test(line)) ?? lines.at(-1) ?? "nothing";
  const reason = (client.complaint.exec(said)?.[1] ?? said).trim().replace(/\/\/[^/@\s]*@/g, "//");
  const verb = heard === "answer" ? "failed" : "failed before any index answered";
  return failure(`${place.text}: ${client.name} ${verb}: ${printable(reason)}`);
}

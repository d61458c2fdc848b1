#!/usr/bin/env node
/**
 * The process around a command: exit codes, the one line of an error, Ctrl-C, and readers that went away.
 * 0: done. 1: the work failed. 2: the call was wrong. 130: Ctrl-C.
 */
import { CommanderError } from "commander";
import { messageOf, PatchclampError } from "../errors.js";
import type { Context } from "./context.js";
import { isHelp, runProgram } from "./program.js";
import { createProgress } from "./progress.js";
import { withoutControls, writeText } from "./terminal.js";

/** How long a command may take to clean up after Ctrl-C (milliseconds); child processes get two seconds of it. */
const grace = 3000;

/** Characters of a message: what it quotes may come from a file and be of any length. */
const longest = 1000;

const words = process.argv.slice(2);
const stop = new AbortController();
let stoppedWith = 0;
let writing = 0;

/** The first signal asks the command to end; a second one, or the end of the grace, ends it. */
function interrupt(signal: "SIGINT" | "SIGTERM", code: number): void {
  if (stop.signal.aborted) die(signal);
  stoppedWith = code;
  stop.abort();
  const late = () => (writing > 0 ? setTimeout(late, 100).unref() : die(signal));
  setTimeout(late, grace).unref();
}

/** `process.exit` would wait for a run of the model, and crash in it: the signal's own action does not. */
function die(signal: "SIGINT" | "SIGTERM"): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

process.on("SIGINT", () => interrupt("SIGINT", 130));
process.on("SIGTERM", () => interrupt("SIGTERM", 143));
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (stop.signal.aborted) return;
  // `patchclamp ... | head` has read enough: that is no error. A full disk is one.
  stoppedWith = error.code === "EPIPE" ? 0 : 1;
  if (stoppedWith !== 0) process.stderr.write(`patchclamp: cannot write to standard output (${error.message})\n`);
  stop.abort();
});
process.stderr.on("error", () => {});

const progress = createProgress(process.stderr);
const context: Context = {
  stdin: process.stdin,
  stdout: process.stdout,
  progress,
  signal: stop.signal,
  async whole(work) {
    stop.signal.throwIfAborted();
    writing += 1;
    try {
      return await work();
    } finally {
      writing -= 1;
    }
  },
};

async function exitCode(): Promise<number> {
  try {
    await runProgram(words, context);
    return stop.signal.aborted ? stoppedWith : 0;
  } catch (error) {
    progress.end();
    if (stop.signal.aborted) return stoppedWith;
    if (isHelp(error)) return 0;
    await writeText(process.stderr, describe(error));
    return isUsage(error) ? 2 : 1;
  }
}

function isUsage(error: unknown): boolean {
  return error instanceof CommanderError || (error instanceof PatchclampError && error.kind === "usage");
}

function describe(error: unknown): string {
  const known = error instanceof CommanderError || error instanceof PatchclampError;
  const whole = messageOf(error).replace(/^error: /, "");
  const message = whole.length > longest ? `${whole.slice(0, longest / 2)} ... ${whole.slice(-longest / 2)}` : whole;
  const line = known ? message : `${message} (this is a bug in patchclamp: please report it, with what --debug shows)`;
  const debug = words.includes("--debug") && error instanceof Error ? `${error.stack}\n` : "";
  return `patchclamp: ${withoutControls(line)}\n${debug}`;
}

const code = await exitCode();
await writeText(process.stdout, "");
process.exit(code);

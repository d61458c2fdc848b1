/**
 * One file over HTTP, into a `.part` file that a later call continues where this one stopped. The hash covers every
 * byte, also those of an earlier call, and decides whether the file is kept.
 */
import { createHash, type Hash } from "node:crypto";
import { open, rm, stat, truncate } from "node:fs/promises";
import { failure, messageOf } from "../errors.js";
import { silenceClock } from "./clock.js";
import { hashFile, writeAll } from "./store.js";
import type { FileRecord } from "./types.js";

/** A connection that is cut is taken up again at once, as long as each attempt brings something. */
const ATTEMPTS = 5;

export interface Transfer {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The `.part` file; it may exist. */
  readonly part: string;
  /** The announced size. */
  readonly bytes: number;
  /** What the finished file must hash to: its sha256, or sha1 as a git blob. */
  readonly expected: { readonly algorithm: "sha256" | "git"; readonly hex: string };
  readonly signal: AbortSignal;
  /** Longest silence in milliseconds. */
  readonly stall: number;
  /** Names the file in messages. */
  readonly where: string;
  readonly onBytes: (received: number) => void;
}

/**
 * Completes and checks `part`.
 * @throws failure where the server refuses, stalls, cuts the connection again and again, or sends other bytes than
 *   announced; the part stays for a later call, except where its hash is wrong
 */
export async function transferFile(transfer: Transfer): Promise<FileRecord> {
  const { part, bytes, expected, where } = transfer;
  const hashes = { sha256: createHash("sha256"), git: createHash("sha1").update(`blob ${bytes}\0`) };
  const all = Object.values(hashes);
  let received = await startingPoint(part, bytes, all, transfer.signal);
  transfer.onBytes(received);
  for (let attempt = 1; received < bytes; attempt++) {
    const next = await receive(transfer, received, all);
    if (next.cut !== undefined && (attempt >= ATTEMPTS || next.received === received)) {
      throw failure(`${where}: ${next.cut} after ${next.received} of ${bytes} bytes; call again to go on from there`);
    }
    received = next.received;
  }
  const sha256 = hashes.sha256.digest("hex");
  const actual = expected.algorithm === "sha256" ? sha256 : hashes.git.digest("hex");
  if (actual !== expected.hex) {
    await rm(part, { force: true });
    throw failure(`${where}: wrong hash: ${actual} came, ${expected.hex} was announced; what came is removed`);
  }
  return { bytes, sha256 };
}

/** Hashes what an earlier call left, or clears it where it cannot be a beginning. */
async function startingPoint(part: string, bytes: number, hashes: readonly Hash[], signal: AbortSignal) {
  const size = (await stat(part).catch(() => undefined))?.size ?? 0;
  if (size > bytes) await truncate(part, 0);
  return size === 0 || size > bytes ? 0 : hashFile(part, hashes, signal);
}

/**
 * Appends to the part until the response ends. Returns the size then, and how the connection was cut, if it was.
 * A server that ignores the range sends everything again: what is there already is skipped.
 */
async function receive(
  transfer: Transfer,
  from: number,
  hashes: readonly Hash[],
): Promise<{ received: number; cut?: string }> {
  const { part, bytes, where, stall } = transfer;
  const clock = silenceClock(stall, () => failure(`${where}: no byte for ${stall / 1000} s; call again to go on`));
  const handle = await open(part, "a");
  let received = from;
  try {
    const response = await fetch(transfer.url, {
      headers: { ...transfer.headers, "accept-encoding": "identity", ...(from > 0 ? { range: `bytes=${from}-` } : {}) },
      signal: AbortSignal.any([transfer.signal, clock.signal]),
    });
    let skip = bytesToSkip(response, from, where);
    for await (const chunk of response.body ?? []) {
      clock.restart();
      const fresh = chunk.subarray(Math.min(skip, chunk.length));
      skip -= chunk.length - fresh.length;
      if (received + fresh.length > bytes) throw failure(`${where}: more than the ${bytes} bytes that were announced`);
      await writeAll(handle, fresh);
      for (const hash of hashes) hash.update(fresh);
      received += fresh.length;
      transfer.onBytes(received);
    }
    await handle.sync();
    return received < bytes ? { received, cut: "the connection ended" } : { received };
  } catch (error) {
    // The fetch standard reports every network error as a TypeError, with the system's reason inside.
    if (error instanceof TypeError) return { received, cut: messageOf(error.cause ?? error) };
    throw error;
  } finally {
    clock.stop();
    await handle.close();
  }
}

function bytesToSkip(response: Response, from: number, where: string): number {
  if (response.status === 200) return from;
  if (response.status === 206 && response.headers.get("content-range")?.startsWith(`bytes ${from}-`)) return 0;
  throw failure(`${where}: the server answered ${response.status} to a request for bytes from ${from}`);
}

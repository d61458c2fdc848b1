/** Progress: a line that renews itself on a terminal; elsewhere nothing within the first second, then a line now and then. */
import { describe, expect, it } from "vitest";
import { createProgress } from "./progress.js";
import type { OutputStream } from "./terminal.js";

function watched(isTTY: boolean) {
  const clock = { milliseconds: 0 };
  const written: string[] = [];
  const stream = { isTTY, write: (text: string) => written.push(text) > 0 } as unknown as OutputStream;
  return { clock, written, progress: createProgress(stream, () => clock.milliseconds) };
}

/** Ten steps a second of 1 MB each. */
function download(seconds: number, { clock, progress }: ReturnType<typeof watched>) {
  for (let i = 0; i <= 10 * seconds; i++) {
    clock.milliseconds = 100 * i;
    progress.report({ kind: "download", file: "a.gguf", received: i * 1e6, total: 10e6 * seconds });
  }
}

describe("outside a terminal", () => {
  it("says nothing about what takes less than a second", () => {
    const short = watched(false);
    download(0.9, short);
    expect(short.written).toEqual([]);
  });

  it("says a line after the first second and then every five, with the rate and what is left", () => {
    const long = watched(false);
    download(8, long);
    expect(long.written).toEqual([
      "downloading a.gguf: 10.0 MB of 80.0 MB, 10.0 MB/s, 7 s left\n",
      "downloading a.gguf: 60.0 MB of 80.0 MB, 10.0 MB/s, 2 s left\n",
    ]);
  });

  it("passes notices on at once, without their control characters", () => {
    const { progress, written } = watched(false);
    progress.notice("trying \u001b[2Jelsewhere");
    expect(written).toEqual(["trying \\x1b[2Jelsewhere\n"]);
  });
});

describe("on a terminal", () => {
  it("renews one line, and clears it in the end and before a notice", () => {
    const { progress, written, clock } = watched(true);
    progress.step("patching", 0, 4, "runs");
    clock.milliseconds = 50; // too soon for another
    progress.step("patching", 1, 4, "runs");
    clock.milliseconds = 1000;
    progress.step("patching", 2, 4, "runs");
    progress.notice("by the way");
    progress.step("patching", 4, 4, "runs");
    expect(written).toEqual([
      "\r\x1b[Kpatching: 0 of 4",
      "\r\x1b[Kpatching: 2 of 4, 1 s left",
      "\r\x1b[K",
      "by the way\n",
      "\r\x1b[Kpatching: 4 of 4",
      "\r\x1b[K",
    ]);
  });

  it("knows no end where a client tells no size", () => {
    const { progress, written, clock } = watched(true);
    progress.report({ kind: "download", file: "x", received: 0 });
    clock.milliseconds = 500;
    progress.report({ kind: "download", file: "x", received: 2e6 });
    progress.end();
    expect(written).toEqual(["\r\x1b[Kdownloading x: 0 B", "\r\x1b[Kdownloading x: 2.00 MB, 4.00 MB/s", "\r\x1b[K"]);
  });
});

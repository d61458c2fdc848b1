/** Downloads that are cut, lied about, or ended by a signal. The hub is a server on this machine; pip and npm are played. */
import { existsSync, rmSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { delimiter, join } from "node:path";
import { setTimeout as setTimeoutPromise } from "node:timers/promises";
import { makePackage, makeWheel } from "../../fixtures/sources/archives.ts";
import { fakeCommand, npmThatDelivers, pipThatDelivers } from "../../fixtures/sources/machine.ts";
import { type HubState, serveHub } from "../../fixtures/sources/servers.ts";
import { goodFiles, type HostileCase, type KilledCase, type Place, resumable } from "../machine.ts";
import { recordFrom, written } from "./calls.ts";

const kind = "a killed download";
const reference = "hf:tiny/other";
const weights = "model.safetensors";
const commit = "b".repeat(40);

type Intercept = NonNullable<HubState["intercept"]>;

/** Answers requests for the weights in its own way; all others are answered well. */
const onWeights =
  (answer: (response: ServerResponse, data: Buffer) => void): Intercept =>
  (request, response, path) => {
    if (!path.endsWith(weights) || request.headers.range !== undefined) return false;
    answer(response, goodFiles()[weights] as Buffer);
    return true;
  };

const half = (response: ServerResponse, data: Buffer) => {
  response.writeHead(200, { "content-length": data.length });
  response.write(data.subarray(0, data.length / 2));
};

/** A call that fetches from a hub which misbehaves. */
const fetched = (name: string, state: Partial<HubState>, says: readonly string[], mayAdd?: RegExp): HostileCase => ({
  kind,
  name,
  arrange: async (place) => {
    const hub = await serveHub({ files: goodFiles(), commit, ...state });
    const { args } = recordFrom(place, reference);
    return { args, environment: { HF_ENDPOINT: hub.address }, close: () => hub.close() };
  },
  exit: 1,
  says: [reference, ...says],
  ...(mayAdd === undefined ? {} : { mayAdd }),
});

const refuse =
  (status: number): Intercept =>
  (_, response) => {
    response.writeHead(status).end();
    return true;
  };

export const brokenDownloads: readonly HostileCase[] = [
  fetched(
    "a connection that is cut again and again",
    {
      intercept: (request, response, path) => {
        if (!path.endsWith(weights)) return false;
        if (request.headers.range === undefined) half(response, goodFiles()[weights] as Buffer);
        setTimeout(() => response.destroy(), 20);
        return true;
      },
    },
    [weights, "after 38800 of 77600 bytes", "call again to go on from there"],
    resumable,
  ),
  fetched(
    "other bytes than the hash says",
    { intercept: onWeights((response, data) => void response.end(Buffer.alloc(data.length, 7))) },
    [weights, "wrong hash", "was announced", "what came is removed"],
    resumable,
  ),
  fetched(
    "more bytes than announced",
    { intercept: onWeights((response, data) => void response.end(Buffer.concat([data, data]))) },
    [weights, "more than the 77600 bytes that were announced"],
    resumable,
  ),
  fetched("a hub that says nothing", { intercept: () => true }, ["did not answer within 3 s"]),
  fetched("a model that is not there", { intercept: refuse(404) }, ["no such model or revision (404)"]),
  fetched("a model behind a gate", { intercept: refuse(401) }, ["refuses (401)", "HF_TOKEN"]),
  fetched("a hub that is ill", { intercept: refuse(500) }, ["answered 500"]),
  fetched(
    "a file that is not there",
    { intercept: onWeights((response) => void response.writeHead(404).end()) },
    [weights, "the server answered 404"],
    resumable,
  ),
  fetched("a file that leads out of the folder", { listed: { [weights]: { path: "../../model.safetensors" } } }, [
    'refused "../../model.safetensors"',
    "segment",
  ]),
  fetched(
    "a file of 2^60 bytes",
    { listed: { [weights]: { lfs: { oid: "0".repeat(64), size: 2 ** 60, pointerSize: 1 } } } },
    [weights, "no usable size"],
    resumable,
  ),
  fetched(
    "a listing that is not JSON",
    {
      intercept: (_, response, path) => {
        if (!path.includes("/tree/")) return false;
        response.writeHead(200, { "content-type": "application/json" }).end('[{"type": "fi');
        return true;
      },
    },
    ["JSON"],
  ),
  {
    kind,
    name: "a hub that nobody runs",
    arrange: async (place) => {
      const gone = await serveHub({ files: {}, commit });
      await gone.close();
      return { ...recordFrom(place, reference), environment: { HF_ENDPOINT: gone.address } };
    },
    exit: 1,
    says: [reference, "did not answer", "ECONNREFUSED 127.0.0.1"],
  },
  {
    kind,
    name: "a download that offline forbids",
    arrange: (place) => recordFrom(place, reference, "--offline"),
    exit: 1,
    says: [reference, "is not in the cache HOME", "patchclamp pull"],
  },
];

/** A signal in the middle of the weights, which a later call then fetches from the middle on. */
const killedOnHub = (signal: NodeJS.Signals, exit: number | null, at: string): KilledCase => ({
  kind,
  name: `${signal} while ${at} come`,
  signal,
  exit,
  async arrange(place) {
    let reached = () => {};
    const when = new Promise<void>((resolve) => {
      reached = resolve;
    });
    let broken = true;
    const intercept: Intercept = (_, response, path) => {
      const held = at === "the weights" ? path.endsWith(weights) : path.includes("/tree/");
      if (!held || !broken) return false;
      broken = false;
      if (at === "the weights") half(response, goodFiles()[weights] as Buffer);
      setTimeout(reached, 150); // what was sent has reached the disk
      return true;
    };
    const hub = await serveHub({ files: goodFiles(), commit, intercept });
    const call = { args: recordFrom(place, reference).args, environment: { HF_ENDPOINT: hub.address } };
    return { ...call, when, again: () => call, close: () => hub.close() };
  },
});

/** A signal while a package's client runs: it gets half of the archive and then nothing. */
const killedClient = (signal: NodeJS.Signals, exit: number | null, scheme: "pypi" | "npm"): KilledCase => ({
  kind,
  name: `${signal} while ${scheme} delivers`,
  signal,
  exit,
  async arrange(place) {
    const archive = written(place, "archive", scheme === "pypi" ? makeWheel(goodFiles()) : makePackage(goodFiles()));
    const mark = join(place.folder, "tmp", "started");
    const slow = `console.log("x"); fs.writeFileSync(${JSON.stringify(mark)}, ""); setTimeout(() => {}, 4000);`;
    const environment = playAll(place, slow);
    const again = () => {
      const deliver = scheme === "pypi" ? pipThatDelivers(archive) : npmThatDelivers(archive);
      return { ...call, environment: playAll(place, deliver) };
    };
    const call = { args: recordFrom(place, `${scheme}:tiny-model`).args, environment };
    return { ...call, when: appeared(mark), again };
  },
});

function playAll(place: Place, script: string): Record<string, string> {
  const bin = join(place.work, "bin");
  for (const name of ["python3", "pip3", "pip", "npm"]) fakeCommand(bin, name, script);
  return { PATH: `${bin}${delimiter}${process.env.PATH}` };
}

async function appeared(path: string): Promise<void> {
  while (!existsSync(path)) await setTimeoutPromise(50);
  rmSync(path);
}

export const killedDownloads: readonly KilledCase[] = [
  killedOnHub("SIGKILL", null, "the weights"),
  killedOnHub("SIGINT", 130, "the weights"),
  killedOnHub("SIGTERM", 143, "the weights"),
  killedOnHub("SIGKILL", null, "the names"),
  killedClient("SIGKILL", null, "pypi"),
  killedClient("SIGINT", 130, "pypi"),
  killedClient("SIGKILL", null, "npm"),
  killedClient("SIGTERM", 143, "npm"),
];

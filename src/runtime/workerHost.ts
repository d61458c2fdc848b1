/**
 * A host in a worker thread, for whoever must stay responsive while a model runs: the runtime's `run()` blocks the thread
 * that calls it. Memory moves by transfer; lent inputs are moved there and back, so a cache of keys and values costs nothing.
 */
import { Worker } from "node:worker_threads";
import { failure } from "../errors.js";
import type { Host, HostOptions, HostStatistics, Job } from "./host.js";
import type { Tensor } from "./tensor.js";

/** From here to the worker. A job's file and resident inputs go with its first run alone. */
export type Request =
  | {
      readonly kind: "run";
      readonly id: number;
      readonly key: string;
      readonly job?: Job;
      readonly resident?: ReadonlyMap<string, Tensor>;
      readonly feeds: ReadonlyMap<string, Tensor>;
      readonly lend: readonly string[];
    }
  | { readonly kind: "forget"; readonly key: string }
  | { readonly kind: "close"; readonly id: number };

/** From the worker. */
export interface Reply {
  readonly id: number;
  readonly outputs?: Record<string, Tensor>;
  readonly error?: string;
  readonly statistics: HostStatistics;
}

/** The memory behind tensors, each buffer once: what a message transfers. */
export function buffersOf(tensors: Iterable<Tensor>): ArrayBuffer[] {
  return [...new Set([...tensors].map(({ data }) => data.buffer as ArrayBuffer))];
}

/** A host whose sessions live in a worker thread of its own. */
export function workerHost(options: HostOptions): Host {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: options });
  const waiting = new Map<number, { resolve: (reply: Reply) => void; reject: (error: Error) => void }>();
  const sent = new Map<string, ReadonlyMap<string, Tensor>>(); // what the worker knows, in order of use
  let statistics: HostStatistics = { sessionsOpened: 0, sessionsOpen: 0, runs: 0 };
  let next = 0;
  let ended = false;

  const endAll = (error: Error) => {
    ended = true;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  worker.on("message", (reply: Reply) => {
    statistics = reply.statistics;
    waiting.get(reply.id)?.resolve(reply);
    waiting.delete(reply.id);
    if (waiting.size === 0) worker.unref();
  });
  worker.on("error", (error) => endAll(failure(`the worker that runs the model failed: ${error.message}`, error)));
  worker.on("exit", (code) => endAll(failure(`the worker that runs the model ended (code ${code})`)));
  worker.unref(); // an idle worker must not keep the process alive

  /** The worker keeps as many jobs as sessions: their files and resident weights would fill its memory otherwise. */
  const forgetOldest = () => {
    const [oldest] = sent.keys();
    if (sent.size <= options.maxSessions || oldest === undefined) return;
    sent.delete(oldest);
    const request: Request = { kind: "forget", key: oldest };
    worker.postMessage(request);
  };

  const ask = (request: Exclude<Request, { kind: "forget" }>, transfer: ArrayBuffer[]): Promise<Reply> =>
    new Promise((resolve, reject) => {
      if (ended) {
        reject(failure("the runtime is closed"));
        return;
      }
      waiting.set(request.id, { resolve, reject });
      worker.ref();
      worker.postMessage(request, transfer);
    });

  return {
    async run(job, feeds, { resident, lend }) {
      const fresh = sent.get(job.key) !== resident;
      const request: Request = {
        kind: "run",
        id: next++,
        key: job.key,
        ...(fresh ? { job, resident } : {}),
        feeds,
        lend,
      };
      sent.delete(job.key);
      sent.set(job.key, resident);
      const lent = lend.map((name) => feeds.get(name) as Tensor);
      const asked = ask(request, buffersOf(lent));
      forgetOldest();
      const reply = await asked;
      if (reply.error !== undefined) throw failure(reply.error);
      return reply.outputs ?? {};
    },
    statistics: () => statistics,
    async close() {
      if (ended) return;
      await ask({ kind: "close", id: next++ }, []);
      ended = true;
      await worker.terminate();
    },
  };
}

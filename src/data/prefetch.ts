/**
 * Batches made in a worker thread, ahead of the steps that need them. A batch is a function of its step, so the worker
 * makes the same ones, bit for bit, in whatever order they are asked for.
 */
import { Worker } from "node:worker_threads";
import { failure } from "../errors.js";
import type { Batch } from "./batches.js";
import { requireWhole } from "./whole.js";

/** What the worker starts from. */
export interface PrefetchWork {
  readonly module: string;
  readonly options: unknown;
}

/** The answer of the worker to a step's number. */
export interface PrefetchReply {
  readonly step: number;
  readonly batch?: Batch;
  readonly error?: string;
}

export interface PrefetchOptions {
  /** Batches that are made before they are asked for; 4 unless given. */
  readonly ahead?: number;
}

export interface Prefetched {
  /** The batch of a step; those of the steps after it are made meanwhile. */
  readonly batches: (step: number) => Promise<Batch>;
  /** Ends the worker. What is still waited for fails. */
  readonly close: () => Promise<void>;
}

/**
 * Runs a module's batches off the main thread.
 *
 * @param module the address of a JavaScript module (a `file:` URL, as of `new URL("./data.js", import.meta.url)`), whose
 *   default export makes `Batches` from `options`, at once or in time
 * @param options anything that can be sent to a worker
 * @throws (the promises reject) failure where the module or a batch of it fails, or after `close`
 */
export function prefetch(module: URL | string, options?: unknown, { ahead = 4 }: PrefetchOptions = {}): Prefetched {
  requireWhole("prefetch", { ahead }, 0);
  const work: PrefetchWork = { module: String(module), options };
  const worker = new Worker(new URL("./prefetchWorker.js", import.meta.url), { workerData: work });
  const asked = new Map<number, Promised>();
  let [waiting, ended]: [number, Error | undefined] = [0, undefined];

  const end = (error: Error) => {
    ended ??= error;
    for (const { reject } of asked.values()) reject(ended);
  };
  worker.on("message", ({ step, batch, error }: PrefetchReply) => {
    const one = asked.get(step);
    if (batch !== undefined) one?.resolve(batch);
    else one?.reject(failure(`${work.module}: ${error}`));
  });
  worker.on("error", (error) => end(failure(`${work.module}: ${error.message}`, error)));
  worker.on("exit", () => end(failure(`${work.module}: the worker that makes batches ended`)));
  worker.unref(); // what nobody waits for must not keep the process alive

  const ask = (step: number): Promised => {
    const known = asked.get(step);
    if (known !== undefined) return known;
    const made = promised();
    asked.set(step, made);
    if (ended !== undefined) made.reject(ended);
    else worker.postMessage(step);
    return made;
  };

  return {
    async batches(step) {
      requireWhole("prefetch", { step }, 0);
      // What lies behind, or was made before a jump elsewhere, is let go.
      for (const [other, { isSettled }] of asked)
        if ((other < step || other > step + ahead) && isSettled()) asked.delete(other);
      const { promise } = ask(step);
      for (let next = step + 1; next <= step + ahead; next++) ask(next);
      if (waiting++ === 0) worker.ref();
      try {
        return await promise;
      } finally {
        if (--waiting === 0) worker.unref();
      }
    },
    async close() {
      end(failure(`${work.module}: the worker that makes batches is closed`));
      await worker.terminate();
    },
  };
}

interface Promised {
  readonly promise: Promise<Batch>;
  readonly resolve: (batch: Batch) => void;
  readonly reject: (error: Error) => void;
  readonly isSettled: () => boolean;
}

/** A promise and what settles it. One that fails before anybody waits for it must not end the process. */
function promised(): Promised {
  let [resolve, reject]: [(batch: Batch) => void, (error: Error) => void] = [() => {}, () => {}];
  let settled = false;
  const promise = new Promise<Batch>((onResolve, onReject) => {
    [resolve, reject] = [onResolve, onReject];
  });
  const settle = () => {
    settled = true;
  };
  promise.then(settle, settle);
  return { promise, resolve, reject, isSettled: () => settled };
}

/** The other side of `prefetch`: makes the batches of the steps that it is asked for, one after the other. */
import { parentPort, workerData } from "node:worker_threads";
import { messageOf } from "../errors.js";
import type { Tensor } from "../runtime/index.js";
import type { Batch, Batches } from "./batches.js";
import type { PrefetchReply, PrefetchWork } from "./prefetch.js";

const { module, options } = workerData as PrefetchWork;
const made = start();
let last: Promise<void> = Promise.resolve();

async function start(): Promise<Batches> {
  const { default: make } = (await import(module)) as { default?: (options: unknown) => Batches | Promise<Batches> };
  if (typeof make !== "function") throw new Error("its default export is no function that makes batches");
  return make(options);
}

async function answer(step: number): Promise<void> {
  try {
    const batch = ownCopy(await (await made)(step));
    const reply: PrefetchReply = { step, batch };
    parentPort?.postMessage(
      reply,
      Object.values(batch).map(({ data }) => data.buffer as ArrayBuffer),
    );
  } catch (error) {
    const reply: PrefetchReply = { step, error: messageOf(error) };
    parentPort?.postMessage(reply);
  }
}

/** Memory that can be moved away: what the module gave may be its own, or a view of something larger. */
function ownCopy(batch: Batch): Batch {
  return Object.fromEntries(
    Object.entries(batch).map(([name, value]) => [name, { ...value, data: value.data.slice() } as Tensor]),
  );
}

made.catch(() => {});
parentPort?.on("message", (step: number) => {
  last = last.then(() => answer(step));
});

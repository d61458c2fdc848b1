/** The other side of `workerHost`: a local host that answers messages. Runs in a worker thread. */
import { parentPort, workerData } from "node:worker_threads";
import { messageOf } from "../errors.js";
import { type HostOptions, type Job, localHost } from "./host.js";
import type { Tensor } from "./tensor.js";
import { buffersOf, type Reply, type Request } from "./workerHost.js";

const host = localHost(workerData as HostOptions);
const jobs = new Map<string, { job: Job; resident: ReadonlyMap<string, Tensor> }>();

async function answer(request: Exclude<Request, { kind: "forget" }>): Promise<Record<string, Tensor>> {
  if (request.kind === "close") {
    await host.close();
    return {};
  }
  const { key, job, resident = new Map(), feeds, lend } = request;
  if (job !== undefined) jobs.set(key, { job, resident });
  const known = jobs.get(key) as { job: Job; resident: ReadonlyMap<string, Tensor> };
  return host.run(known.job, feeds, { resident: known.resident, lend });
}

parentPort?.on("message", async (request: Request) => {
  if (request.kind === "forget") {
    jobs.delete(request.key); // a run of it that is under way holds what it needs
    return;
  }
  const { id } = request;
  let reply: Reply;
  try {
    reply = { id, outputs: await answer(request), statistics: host.statistics() };
  } catch (error) {
    reply = { id, error: messageOf(error), statistics: host.statistics() };
  }
  parentPort?.postMessage(reply, buffersOf(Object.values(reply.outputs ?? {})));
});

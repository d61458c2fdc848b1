/**
 * A host keeps sessions and runs them. Sessions are found again by their job's key and closed least recently used first,
 * because each live one costs some 40 MB of its own (the weights it maps are shared). One host lives in this thread,
 * another in a worker thread (`workerHost.ts`): the contract is the same.
 */
import { failure } from "../errors.js";
import { openSession, type Session } from "./session.js";
import type { Tensor } from "./tensor.js";

/** A compiled graph, ready to become a session: all of it plain data. */
export interface Job {
  /** Equal for equal graphs with equal settings. */
  readonly key: string;
  /** The ONNX file. */
  readonly bytes: Uint8Array;
  readonly prepack: boolean;
  /** The folder that file-placed weights are relative to. */
  readonly folder?: string;
}

/** What a host has done so far. */
export interface HostStatistics {
  readonly sessionsOpened: number;
  readonly sessionsOpen: number;
  readonly runs: number;
}

export interface Host {
  /** Runs a job. `resident` inputs are the same in every run of it and need to cross to the host only once. */
  run(job: Job, feeds: ReadonlyMap<string, Tensor>, options: RunOptions): Promise<Record<string, Tensor>>;
  statistics(): HostStatistics;
  close(): Promise<void>;
}

export interface RunOptions {
  /** Inputs that are the same in every run of the job: they cross to a worker once. */
  readonly resident: ReadonlyMap<string, Tensor>;
  /** Names of inputs whose memory is lent: it comes back among the outputs under the same names, and nowhere else. */
  readonly lend: readonly string[];
}

export interface HostOptions {
  readonly threads: number;
  readonly maxSessions: number;
}

interface CachedSession {
  readonly session: Promise<Session>;
  users: number;
}

/** A host in this thread. A run blocks the thread for its whole length: that is how the runtime's binding works. */
export function localHost({ threads, maxSessions }: HostOptions): Host {
  const sessions = new Map<string, CachedSession>(); // in order of use
  let closed = false;
  let sessionsOpened = 0;
  let runs = 0;

  const evict = async () => {
    for (const [key, entry] of [...sessions]) {
      if (sessions.size <= maxSessions) return;
      if (entry.users > 0) continue;
      sessions.delete(key);
      await (await entry.session).close();
    }
  };

  const sessionOf = ({ key, bytes, prepack, folder }: Job): CachedSession => {
    if (closed) throw failure("the runtime is closed");
    const known = sessions.get(key);
    if (known === undefined) sessionsOpened += 1;
    const options = { threads, prepack, ...(folder === undefined ? {} : { folder }) };
    const entry = known ?? { session: openSession(bytes, options), users: 0 };
    sessions.delete(key);
    sessions.set(key, entry);
    return entry;
  };

  return {
    async run(job, feeds, { resident, lend }) {
      const entry = sessionOf(job);
      entry.users += 1;
      try {
        const session = await entry.session;
        runs += 1;
        const outputs = await session.run(new Map([...resident, ...feeds]));
        for (const name of lend) outputs[name] = feeds.get(name) as Tensor;
        return outputs;
      } catch (error) {
        await entry.session.catch(() => sessions.delete(job.key)); // one that never opened must not be found again
        throw error;
      } finally {
        entry.users -= 1;
        await evict();
      }
    },
    statistics: () => ({ sessionsOpened, sessionsOpen: sessions.size, runs }),
    async close() {
      closed = true;
      const open = [...sessions.values()];
      sessions.clear();
      for (const entry of open) await entry.session.then((session) => session.close()).catch(() => undefined);
    },
  };
}

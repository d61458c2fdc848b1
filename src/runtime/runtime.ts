/**
 * A runtime compiles graphs to programs and keeps their sessions. A program is its graph's ONNX bytes; sessions are made
 * when it runs, found again by the graph's structure, and closed least recently used first, because each live one costs
 * some 40 MB of its own (the weights it maps are shared).
 */
import { createHash } from "node:crypto";
import { availableParallelism } from "node:os";
import { basename, dirname } from "node:path";
import { bindDims, exportOnnx, type Graph, type WeightPlacement, weightsOf } from "../graph/index.js";
import { failure, usageError } from "../errors.js";
import { openSession, type Session } from "./session.js";
import type { Tensor } from "./tensor.js";

/** How a graph gets its weights: pointers into a file that every session maps, inputs of each run, or inside the graph. */
export type WeightMode = "mapped" | "fed" | "baked";

/** The file that weights are mapped from, and where each lies in it (absolute byte offsets). */
export interface MappedWeights {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, { readonly offset: number; readonly bytes: number; readonly shape: readonly number[] }>;
}

export interface RuntimeOptions {
  /** Threads of one operator; the number of cores unless given. */
  readonly threads?: number;
  /** Sessions kept open at once; 6 unless given. */
  readonly maxSessions?: number;
}

export interface CompileOptions {
  /** Where graphs run. Only the CPU so far. */
  readonly device?: "cpu";
  /** How weights reach the graph; `mapped` unless given. */
  readonly weights?: WeightMode;
  /** The file behind `mapped` weights; needed where the graph has weights that `values` lacks. */
  readonly file?: MappedWeights;
  /** Values of weights by name: all of them for `fed` and `baked`, edited ones for `mapped` (these are then fed). */
  readonly values?: ReadonlyMap<string, Tensor>;
  /** Copy weights into the kernels' layout: opening takes three times as long, a token 20% less. Off unless given. */
  readonly prepack?: boolean;
}

/** A compiled graph. Its session is made at the first run and made again if it was closed in between. */
export interface Program {
  readonly graph: Graph;
  /** Runs the graph on a tensor for every input, by name. Outputs are fresh memory. */
  run(feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
}

/** What a runtime has done so far, for tests and benchmarks. */
export interface RuntimeStatistics {
  readonly sessionsOpened: number;
  readonly sessionsOpen: number;
  readonly runs: number;
}

export interface Runtime {
  compile(graph: Graph, options?: CompileOptions): Program;
  statistics(): RuntimeStatistics;
  /** Closes every session. Programs can't run afterwards. */
  close(): Promise<void>;
}

interface CachedSession {
  readonly session: Promise<Session>;
  users: number;
}

/** Makes a runtime. Close it when done: sessions hold memory that JavaScript does not see. */
export function createRuntime({ threads = availableParallelism(), maxSessions = 6 }: RuntimeOptions = {}): Runtime {
  if (!Number.isInteger(threads) || threads < 1) throw usageError(`threads must be a whole number of at least 1, not ${threads}`);
  const sessions = new Map<string, CachedSession>(); // in order of use
  let closed = false;
  let sessionsOpened = 0;
  let runs = 0;

  const evict = async () => {
    for (const [key, entry] of sessions) {
      if (sessions.size <= maxSessions) return;
      if (entry.users > 0) continue;
      sessions.delete(key);
      await (await entry.session).close();
    }
  };

  const withSession = async <T>(key: string, open: () => Promise<Session>, use: (session: Session) => Promise<T>): Promise<T> => {
    if (closed) throw failure("the runtime is closed");
    let entry = sessions.get(key);
    if (entry === undefined) {
      sessionsOpened += 1;
      entry = { session: open(), users: 0 };
    }
    sessions.delete(key);
    sessions.set(key, entry);
    entry.users += 1;
    try {
      return await use(await entry.session);
    } catch (error) {
      await entry.session.catch(() => sessions.delete(key)); // a session that never opened must not be found again
      throw error;
    } finally {
      entry.users -= 1;
      await evict();
    }
  };

  return {
    compile(graph, options = {}) {
      const { prepack = false, file } = options;
      const fed = new Map<string, Tensor>();
      const bytes = exportOnnx(graph, { place: (name) => place(name, options, fed) });
      checkWeights(graph, options);
      const key = createHash("sha256").update(`${prepack} ${file?.path ?? ""}\n`).update(bytes).digest("base64");
      const folder = file === undefined ? {} : { folder: dirname(file.path) };
      return {
        graph,
        run: (feeds) =>
          withSession(
            key,
            () => openSession(bytes, { threads, prepack, ...folder }),
            async (session) => {
              runs += 1;
              return session.run(checkFeeds(graph, feeds, fed));
            },
          ),
      };
    },
    statistics: () => ({ sessionsOpened, sessionsOpen: sessions.size, runs }),
    async close() {
      closed = true;
      const open = [...sessions.values()];
      sessions.clear();
      for (const entry of open) await (await entry.session).close();
    },
  };
}

function place(name: string, { weights = "mapped", file, values }: CompileOptions, fed: Map<string, Tensor>): WeightPlacement {
  const value = values?.get(name);
  if (value !== undefined) {
    if (weights === "baked") return { kind: "inside", tensor: value };
    fed.set(name, value);
    return { kind: "fed" };
  }
  const stored = file?.tensors.get(name);
  if (weights !== "mapped" || file === undefined || stored === undefined) {
    throw failure(`the weight "${name}" has no values${weights === "mapped" ? "" : ` (mode "${weights}" needs them all)`}`);
  }
  return { kind: "file", location: basename(file.path), offset: stored.offset, bytes: stored.bytes };
}

function checkWeights(graph: Graph, { file, values }: CompileOptions): void {
  for (const [name, { shape }] of weightsOf(graph)) {
    const given = values?.get(name)?.shape ?? file?.tensors.get(name)?.shape;
    if (given !== undefined && given.join() !== shape.join()) {
      throw usageError(`the weight "${name}" has shape [${given.join(", ")}]; the graph needs [${shape.join(", ")}]`);
    }
  }
}

function checkFeeds(graph: Graph, feeds: Readonly<Record<string, Tensor>>, fed: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  bindDims(graph.inputs, new Map(Object.entries(feeds).map(([name, value]) => [name, value.shape])));
  const result = new Map(fed);
  for (const value of graph.inputs) {
    const name = value.node.attributes.name as string;
    const given = feeds[name] as Tensor;
    if (given.dtype !== value.dtype) throw usageError(`input "${name}" takes ${value.dtype}, not ${given.dtype}`);
    result.set(name, given);
  }
  return result;
}

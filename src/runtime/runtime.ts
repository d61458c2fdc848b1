/**
 * A runtime compiles graphs to programs. A program is its graph's ONNX bytes and whatever its weights need; the host that
 * runs it finds its session again by the graph's structure, so that the same graph compiled twice is one session.
 */
import { createHash } from "node:crypto";
import { availableParallelism } from "node:os";
import { basename, dirname } from "node:path";
import { failure, usageError } from "../errors.js";
import { bindDims, exportOnnx, type Graph, type WeightPlacement, weightsOf } from "../graph/index.js";
import { type HostStatistics, type Job, localHost } from "./host.js";
import type { Tensor } from "./tensor.js";
import { workerHost } from "./workerHost.js";

/** How a graph gets its weights: pointers into a file that every session maps, inputs of each run, or inside the graph. */
export type WeightMode = "mapped" | "fed" | "baked";

/** The file that weights are mapped from, and where each lies in it (absolute byte offsets). */
export interface MappedWeights {
  readonly path: string;
  readonly tensors: ReadonlyMap<
    string,
    { readonly offset: number; readonly bytes: number; readonly shape: readonly number[] }
  >;
}

export interface RuntimeOptions {
  /** Threads of one operator; the number of cores unless given. */
  readonly threads?: number;
  /** Sessions kept open at once; 6 unless given. */
  readonly maxSessions?: number;
  /** Run in a worker thread, so that this thread stays responsive. Off unless given. */
  readonly worker?: boolean;
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
  /** Copy weights into the kernels' layout: opening takes three times as long, a token 20% less. On for `baked`, else off. */
  readonly prepack?: boolean;
}

/** A compiled graph. Its session is made at the first run and made again if it was closed in between. */
export interface Program {
  readonly graph: Graph;
  /**
   * Runs the graph on a tensor for every input, by name. Outputs are fresh memory. Inputs named in `lend` give up their
   * memory for the run: it comes back among the outputs under their names (a worker gets it without copying).
   */
  run(feeds: Readonly<Record<string, Tensor>>, options?: { lend?: readonly string[] }): Promise<Record<string, Tensor>>;
}

export interface Runtime {
  compile(graph: Graph, options?: CompileOptions): Program;
  /** Sessions and runs so far, for tests and benchmarks. */
  statistics(): HostStatistics;
  /** Closes every session. Programs can't run afterwards. */
  close(): Promise<void>;
}

/** Makes a runtime. Close it when done: sessions hold memory that JavaScript does not see. */
export function createRuntime({
  threads = availableParallelism(),
  maxSessions = 6,
  worker = false,
}: RuntimeOptions = {}): Runtime {
  if (!Number.isInteger(threads) || threads < 1) {
    throw usageError(`threads must be a whole number of at least 1, not ${threads}`);
  }
  // The runtime would report every session to its maker and keep a log beside the user's temporary files.
  process.env.ORT_DISABLE_TELEMETRY ??= "1";
  const host = worker ? workerHost({ threads, maxSessions }) : localHost({ threads, maxSessions });
  return {
    compile(graph, options = {}) {
      checkWeights(graph, options);
      const { job, resident } = makeJob(graph, options);
      return {
        graph,
        run: async (feeds, { lend = [] } = {}) => host.run(job, checkFeeds(graph, feeds), { resident, lend }),
      };
    },
    statistics: () => host.statistics(),
    close: () => host.close(),
  };
}

/** The ONNX file of a graph, and the weights that are fed to it. Equal structure gives an equal key. */
function makeJob(graph: Graph, options: CompileOptions): { job: Job; resident: Map<string, Tensor> } {
  const { weights = "mapped", prepack = weights === "baked", file } = options;
  const resident = new Map<string, Tensor>();
  const bytes = exportOnnx(graph, { place: (name) => place(name, options, resident) });
  const key = createHash("sha256")
    .update(`${prepack} ${file?.path ?? ""}\n`)
    .update(bytes)
    .digest("base64");
  return { job: { key, bytes, prepack, ...(file === undefined ? {} : { folder: dirname(file.path) }) }, resident };
}

function place(
  name: string,
  { weights = "mapped", file, values }: CompileOptions,
  fed: Map<string, Tensor>,
): WeightPlacement {
  const value = values?.get(name);
  if (value !== undefined) {
    if (weights === "baked") return { kind: "inside", tensor: value };
    fed.set(name, value);
    return { kind: "fed" };
  }
  const stored = file?.tensors.get(name);
  if (weights !== "mapped" || file === undefined || stored === undefined) {
    throw failure(
      `the weight "${name}" has no values${weights === "mapped" ? "" : ` (mode "${weights}" needs them all)`}`,
    );
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

function checkFeeds(graph: Graph, feeds: Readonly<Record<string, Tensor>>): Map<string, Tensor> {
  bindDims(graph.inputs, new Map(Object.entries(feeds).map(([name, value]) => [name, value.shape])));
  const result = new Map<string, Tensor>();
  for (const value of graph.inputs) {
    const name = value.node.attributes.name as string;
    const given = feeds[name] as Tensor;
    if (given.dtype !== value.dtype) throw usageError(`input "${name}" takes ${value.dtype}, not ${given.dtype}`);
    result.set(name, given);
  }
  return result;
}

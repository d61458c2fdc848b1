/**
 * The one place that touches ONNX Runtime: a session made from an ONNX file's bytes, and runs of it. The import is lazy,
 * because loading the library costs more than most commands that don't run a model.
 */
import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { failure, messageOf } from "../errors.js";
import type { Dtype, Tensor, TypedArrayOf } from "./tensor.js";

export interface SessionOptions {
  /** Threads of one operator. */
  readonly threads: number;
  /** Folder that file-placed weights are relative to. */
  readonly folder?: string;
  /** Copy weights into the layout of the kernels: slower to open, faster to run. */
  readonly prepack: boolean;
}

export interface Session {
  run(feeds: ReadonlyMap<string, Tensor>): Promise<Record<string, Tensor>>;
  close(): Promise<void>;
}

/** Opens a session on the bytes of an ONNX file. */
export async function openSession(bytes: Uint8Array, options: SessionOptions): Promise<Session> {
  const ort = await import("onnxruntime-node");
  let session: InferenceSession;
  try {
    session = await ort.InferenceSession.create(bytes, {
      executionProviders: ["cpu"],
      graphOptimizationLevel: "all",
      intraOpNumThreads: options.threads,
      interOpNumThreads: 1,
      executionMode: "sequential",
      logSeverityLevel: 3,
      extra: {
        session: {
          // Threads that wait for a session's next run would take the cores from another session's: alternating small
          // graphs ran eight times as long.
          force_spinning_stop: "1",
          ...(options.prepack ? {} : { disable_prepacking: "1" }),
          ...(options.folder === undefined ? {} : { model_external_initializers_file_folder_path: options.folder }),
        },
      },
    });
  } catch (error) {
    throw failure(`ONNX Runtime refused the graph: ${messageOf(error)}`, error);
  }
  return {
    async run(feeds) {
      const inputs: Record<string, OrtTensor> = {};
      for (const [name, { dtype, shape, data }] of feeds)
        inputs[name] = new ort.Tensor(dtype, data as Float32Array, shape);
      try {
        const outputs = await session.run(inputs);
        return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, fromOrt(value as OrtTensor)]));
      } catch (error) {
        throw failure(`ONNX Runtime failed while running the graph: ${messageOf(error)}`, error);
      }
    },
    close: () => session.release(),
  };
}

function fromOrt(value: OrtTensor): Tensor {
  return { dtype: value.type as Dtype, shape: value.dims, data: value.data as TypedArrayOf[Dtype] };
}

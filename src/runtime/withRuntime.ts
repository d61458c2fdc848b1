/** Methods that run graphs of their own take a runtime, or make one for the length of the call. */
import { createRuntime, type Runtime } from "./runtime.js";

/** What `work` returns on the given runtime, or on one of its own that is closed afterwards. */
export async function withRuntime<T>(given: Runtime | undefined, work: (runtime: Runtime) => Promise<T>): Promise<T> {
  const runtime = given ?? createRuntime();
  try {
    return await work(runtime);
  } finally {
    if (given === undefined) await runtime.close();
  }
}

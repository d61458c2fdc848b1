/**
 * Expressions and templates come with a model, so from strangers, and can be written to run for ever. What runs them is
 * given up after a time; nothing else would stop it, for it keeps its thread busy.
 */
import { createContext, Script } from "node:vm";
import { failure } from "../../errors.js";

// Only a script has a time limit, so a script is what calls; the work itself runs where it was written.
const script = new Script("work()");
const context: { work?: () => unknown } = createContext({});

/** What `work` returns. A failure, which says that `what` does not end, if it takes longer than `milliseconds`. */
export function withinTime<T>(milliseconds: number, what: string, work: () => T): T {
  let result: { readonly value: T } | undefined;
  context.work = () => {
    result = { value: work() };
  };
  try {
    script.runInContext(context, { timeout: Math.ceil(milliseconds) });
    return (result as unknown as { readonly value: T }).value;
  } catch (error) {
    // The script's own errors are made in its context, where Error is another class.
    if ((error as { code?: unknown } | null)?.code === "ERR_SCRIPT_EXECUTION_TIMEOUT")
      throw failure(`${what} does not end: it was given up after ${milliseconds / 1000} s`, error);
    throw error;
  } finally {
    delete context.work;
  }
}

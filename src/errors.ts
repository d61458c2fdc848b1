/**
 * The one error type that a user meets. It says what was wrong, where, and what would be right; the command line prints
 * its message as a line and turns its kind into an exit code.
 */

/** `usage`: the call was wrong (exit code 2). `failure`: the call was right and the work failed (exit code 1). */
export type ErrorKind = "usage" | "failure";

export class PatchclampError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "PatchclampError";
    this.kind = kind;
  }
}

/** The call was wrong: an unknown site, a bad index, a shape that does not fit. */
export function usageError(message: string, cause?: unknown): PatchclampError {
  return new PatchclampError("usage", message, cause === undefined ? undefined : { cause });
}

/** The call was right and the work failed: a network, a file, memory. */
export function failure(message: string, cause?: unknown): PatchclampError {
  return new PatchclampError("failure", message, cause === undefined ? undefined : { cause });
}

/** The message of anything that was thrown, on one line. */
export function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s*\n\s*/g, " ");
}

/** What `work` returns. Where it throws a `PatchclampError`, the message gets `where` (a file, say) in front. */
export function located<T>(where: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof PatchclampError)) throw error;
    throw new PatchclampError(error.kind, `${where}: ${error.message}`, { cause: error });
  }
}

/** Characters of names that are compared: what is longer came from a file that lies, and would take minutes. */
const comparedCharacters = 100;

/** The `count` names nearest to `name` by edit distance, for "did you mean". */
export function nearestNames(name: string, names: Iterable<string>, count = 3): string[] {
  const start = (text: string) => text.slice(0, comparedCharacters);
  return [...names]
    .map((candidate) => ({ candidate, distance: editDistance(start(name), start(candidate)) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, count)
    .map(({ candidate }) => candidate);
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min((previous[j] as number) + 1, (row[j - 1] as number) + 1, substitution));
    }
    previous = row;
  }
  return previous[b.length] as number;
}

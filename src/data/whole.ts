/** The one check that every generator of data makes. */
import { usageError } from "../errors.js";

/** Throws a usage error that names the call unless all numbers are whole ones of at least `lowest`. */
export function requireWhole(call: string, numbers: Readonly<Record<string, number>>, lowest = 1): void {
  for (const [name, number] of Object.entries(numbers))
    if (!Number.isSafeInteger(number) || number < lowest)
      throw usageError(`${call}: ${name} must be a whole number of at least ${lowest}, not ${number}`);
}

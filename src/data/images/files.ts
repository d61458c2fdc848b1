/** Files of the user's own, never longer in memory than what they can rightly be. */
import { open } from "node:fs/promises";
import { failure, messageOf, PatchclampError } from "../../errors.js";

/** The bytes of a regular file of at most `most` bytes. Throws a failure that names it otherwise. */
export async function readBounded(path: string, most: number): Promise<Uint8Array> {
  try {
    const file = await open(path);
    try {
      const found = await file.stat();
      if (!found.isFile()) throw failure(`${path} is no regular file`);
      if (found.size > most) throw failure(`${path} has ${found.size} bytes; at most ${most} are read`);
      return await file.readFile();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof PatchclampError) throw error;
    throw failure(`can't read ${path}: ${messageOf(error)}`, error);
  }
}

/** Text files of the user's own: UTF-8 or an error, whole or line by line, never longer in memory than they may be. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { failure, messageOf, PatchclampError, usageError } from "../../errors.js";
import { readBounded } from "../images/files.js";

/** The longest document, and the longest line (bytes). */
const mostBytes = 256 * 2 ** 20;

/**
 * A text file as a whole, line ends as "\n".
 *
 * @throws failure where it is absent, longer than 256 MiB (`readLines` reads longer ones), empty, or not UTF-8
 */
export async function readText(path: string): Promise<string> {
  const bytes = await readBounded(path, mostBytes);
  const text = decoderOf(path)(bytes, false);
  if (text.trim() === "") throw failure(`${path} holds no text`);
  return text.replace(/\r\n?/g, "\n");
}

/**
 * The lines of a text file one by one, without their ends and without holding the others.
 *
 * @throws usage error where there is no such file; failure where it is empty or not UTF-8, or a line is longer than 256 MiB
 */
export async function* readLines(path: string): AsyncGenerator<string> {
  const found = await stat(path).catch(() => undefined);
  // Reading a pipe or a device might never end.
  if (found?.isFile() !== true) throw usageError(`there is no file ${path}`);
  if (found.size === 0) throw failure(`${path} holds no text`);
  const decode = decoderOf(path);
  let rest = "";
  for await (const chunk of chunksOf(path)) {
    const lines = (rest + decode(chunk, true)).split(/\r?\n/);
    rest = lines.pop() as string;
    if (rest.length > mostBytes) throw failure(`${path} has a line of more than ${mostBytes} bytes`);
    yield* lines;
  }
  rest += decode(new Uint8Array(), false);
  if (rest !== "") yield rest;
}

async function* chunksOf(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(path, { highWaterMark: 2 ** 20 });
  } catch (error) {
    if (error instanceof PatchclampError) throw error;
    throw failure(`can't read ${path}: ${messageOf(error)}`, error);
  }
}

/** Bytes to text, chunk after chunk; throws a failure with the path where they are not UTF-8. */
function decoderOf(path: string): (chunk: Uint8Array, more: boolean) => string {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  return (chunk, more) => {
    try {
      return decoder.decode(chunk, { stream: more });
    } catch (error) {
      throw failure(`${path} is not UTF-8 text`, error);
    }
  };
}

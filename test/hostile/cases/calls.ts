/** The calls that most cases end in. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Call, goodModel, type Place } from "../machine.ts";

/** Records the logits of a model over a file that exists, which must stay as it was. */
export function recordFrom({ work }: Place, model: string, ...further: readonly string[]): Call {
  const out = join(work, "out.safetensors");
  writeFileSync(out, "what was there before");
  return { args: ["record", "--model", model, "--ids", "5,7", "--sites", "logits", "--out", out, ...further] };
}

/** Runs the good model with clamps. */
export function clampGood(...clamps: readonly string[]): Call {
  return { args: ["clamp", "--model", goodModel, "--ids", "5,7", ...clamps] };
}

/** Writes a file of the case and returns its path. */
export function written({ work }: Place, name: string, content: string | Buffer): string {
  const path = join(work, name);
  writeFileSync(path, content);
  return path;
}

/** The folder of the case's model. */
export const modelFolder = ({ work }: Place): string => join(work, "model");

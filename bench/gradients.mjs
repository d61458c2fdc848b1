/** Gradients of a logit at every residual stream, against the forward pass written by hand. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { interleave, median, ratio } from "./measure.mjs";

/** Reports ratios of gradients; returns the times. */
export async function gradients({ model, byHand, prompt, rounds, report, show }) {
  const options = { of: "logit(#7042)", at: "layers.*.residPost" };
  const start = performance.now();
  await model.gradient(prompt, options);
  const first = performance.now() - start;
  const results = await interleave({ byHand: byHand.run, gradient: () => model.gradient(prompt, options) }, rounds);
  const { byHand: hand, gradient } = results;
  const detail = `${show(gradient, hand)}; first call ${first.toFixed(0)} ms`;
  report(
    ratio("gradient of a logit at all residual streams / forward by hand", gradient.median / hand.median, {
      atMost: 2.3,
      detail,
    }),
  );
  await byHand.close();
  return { ...results, first };
}

const script = fileURLToPath(new URL("./checkpoint.mjs", import.meta.url));

/** Reports what checkpoints save and cost in the gradient of a 24-layer decoder at 512 tokens; returns the measurements. */
export function checkpoints({ report }) {
  const measure = (...flags) =>
    JSON.parse(spawnSync(process.execPath, [script, ...flags], { encoding: "utf8" }).stdout);
  const rounds = Array.from({ length: 3 }, () => ({ kept: measure(), recomputed: measure("--checkpoint") }));
  const of = (pick) => median(rounds.map(pick));
  const memory = of(({ kept, recomputed }) => kept.bytes / recomputed.bytes);
  const time = of(({ kept, recomputed }) => recomputed.milliseconds / kept.milliseconds);
  const [{ kept, recomputed }] = rounds;
  report(
    ratio("peak memory of a 24-layer gradient at 512 tokens / with checkpoints", memory, {
      atLeast: 3,
      detail: `${(kept.bytes / 1e6).toFixed(0)} / ${(recomputed.bytes / 1e6).toFixed(0)} MB; ${kept.nodes} / ${recomputed.nodes} nodes`,
    }),
  );
  report(
    ratio("its time with checkpoints / without", time, {
      atMost: 1.4,
      detail: `${recomputed.milliseconds.toFixed(0)} / ${kept.milliseconds.toFixed(0)} ms`,
    }),
  );
  return rounds;
}

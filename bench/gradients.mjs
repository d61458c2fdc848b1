/** Gradients of a logit at every residual stream, against the forward pass written by hand. */
import { interleave, ratio } from "./measure.mjs";

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

/** Optimizers and learning rates: plain data and one traced step each. */
export { type AdafactorOptions, adafactor } from "./adafactor.js";
export { type AdamOptions, adam, adamW } from "./adam.js";
export { type AdagradOptions, adagrad, type RmspropOptions, rmsprop } from "./adaptive.js";
export { averaged } from "./average.js";
export { type Belongs, byName } from "./groups.js";
export { type LbfgsOptions, lbfgs } from "./lbfgs.js";
export { type LionOptions, lion } from "./lion.js";
export { type MuonOptions, muon } from "./muon.js";
export {
  constantRate,
  cosineDecay,
  inverseSquareRoot,
  linearDecay,
  oneCycle,
  type Rate,
  type Schedule,
  stepDecay,
  warmup,
  warmupStableDecay,
} from "./schedules.js";
export { type SgdOptions, sgd } from "./sgd.js";
export type { CommonOptions, Decay, DecayOption } from "./shared.js";

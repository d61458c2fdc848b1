/** The table of architectures. To add one: a file like the others here, and a line below. */
import type { Architecture } from "./architecture.js";
import { gpt2 } from "./gpt2.js";
import { llama } from "./llama.js";

/** Every architecture that checkpoints are read for. */
export const architectures: readonly Architecture[] = [llama, gpt2];

export {
  type Architecture,
  findArchitecture,
  type Has,
  type Mapping,
  type Origin,
  planWeights,
  splitWeightName,
} from "./architecture.js";
export {
  choice,
  divides,
  type Fields,
  flag,
  jsonFields,
  layerCount,
  positive,
  size,
  unsupportedUnless,
} from "./fields.js";

/** The command line room: the JSON of its commands, as types and as JSON Schemas. The command itself is `main.js`. */
export type { JsonSchema } from "./jsonSchema.js";
export {
  type AblateResult,
  type AttentionResult,
  type AttributeResult,
  type CacheClear,
  type CacheList,
  type ClampResult,
  type GenerateResult,
  type GraphResult,
  type LensResult,
  type ModelList,
  type PatchResult,
  type PullResult,
  type RecordTokens,
  type SaliencyResult,
  type SiteList,
  schemas,
  type TokenJson,
} from "./schemas.js";

/** Models come from where people have them: a reference goes in, files on disk come out. */
export { type CachedModel, cachedData, cachedModels, cacheFolder } from "./cache.js";
export { type CatalogueEntry, catalogue } from "./catalogue.js";
export { resolveFiles, resolveModel } from "./resolve.js";
export type { ModelFiles, ProgressEvent, SourceOptions } from "./types.js";

/** Modules: pairs of plain functions, one that makes parameters and one that is traced with them. */
export * from "./attention.js";
export * from "./convolution.js";
export * from "./dense.js";
export * from "./embedding.js";
export * from "./graphs.js";
export * from "./normalisation.js";
export * from "./recurrent.js";
export * from "./site.js";
export * from "./stateSpace.js";
export * from "./transformer.js";

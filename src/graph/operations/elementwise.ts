/** The elementwise operations of all families under one name, for the families that build on them. */
export * from "./activations.js";
export * from "./arithmetic.js";
export * from "./bitwise.js";
export * from "./casting.js";
export * from "./comparison.js";
export { onnxDtype } from "./dtypes.js";
export { constantLike, type Operand } from "./pointwise.js";
export * from "./transcendental.js";

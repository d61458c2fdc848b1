/** Tensors as the runtime takes and gives them; the type itself belongs to the graph, which depends on nothing. */
export * from "../graph/tensor.js";

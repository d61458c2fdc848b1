/**
 * An adapter is plain data: a configuration, and a few tensors that change a model's products. Each method says how they
 * start, what they add to a product while it is trained (without ever forming the changed weight), and what the changed
 * weight is once it is wanted.
 */
import type { Value } from "../../graph/index.js";
import type { Random, Tensor } from "../../runtime/index.js";
import type { Targets } from "./targets.js";

interface Targeted {
  /** Products that are adapted, by globs of their canonical names. Every product of the layers unless given. */
  readonly targets?: Targets;
}

/** Low-rank adapters (Hu et al. 2022): x W + s (x A) B. */
export interface LoraConfig extends Targeted {
  readonly kind: "lora";
  readonly rank: number;
  /** s = alpha / rank. */
  readonly alpha: number;
  /** Alphas of single products (by name) that have one of their own. */
  readonly alphas?: Readonly<Record<string, number>>;
  /** s = alpha / sqrt(rank) instead, which keeps its size at high ranks (Kalajdzievski 2023). Off unless given. */
  readonly rankStabilised?: boolean;
  /** Share of the adapter's inputs that are dropped in training; 0 unless given. */
  readonly dropout?: number;
  /** Learn the length of each column of the weight apart from its direction (DoRA, Liu et al. 2024). Off unless given. */
  readonly magnitude?: boolean;
}

/** A factor for each output of a product, or each input of an MLP's last one (Liu et al. 2022, "(IA)^3"). */
export interface Ia3Config extends Targeted {
  readonly kind: "ia3";
}

/** Two random matrices that all products share and none trains, and two vectors a product (Kopiczko et al. 2024). */
export interface VeraConfig extends Targeted {
  readonly kind: "vera";
  readonly rank: number;
  readonly dropout?: number;
  /** What the inner factors start at; 0.1 unless given. */
  readonly initial?: number;
}

/** Weights trained as they are: all of them, a subset, or biases alone (`targets: "**.bias"`; Ben Zaken et al. 2022). */
export interface WeightsConfig {
  readonly kind: "weights";
  /** Globs of canonical names of weights. */
  readonly targets: Targets;
}

export type ProductConfig = LoraConfig | Ia3Config | VeraConfig;
export type AdapterConfig = ProductConfig | WeightsConfig;

/** Tensors of an adapter by name: `layers.0.attn.q.loraA` ..., or weights by canonical name. */
export type AdapterTensors = Readonly<Record<string, Tensor<"float32">>>;

export interface Adapter {
  readonly config: AdapterConfig;
  readonly tensors: AdapterTensors;
}

/** A product whose adapter starts. */
export interface TargetProduct {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
}

/** One product while it is traced. */
export interface ProductContext {
  readonly name: string;
  readonly x: Value;
  /** What the product gave: x W, and its bias where it has one. */
  readonly y: Value;
  readonly weight: Value;
  readonly bias: Value | undefined;
  /** A tensor of the adapter; undefined where it has none of that name. */
  readonly read: (name: string) => Value | undefined;
  /** `x` with the method's dropout. */
  readonly dropped: Value;
}

/** A product's weight and bias. */
export interface ProductWeights {
  readonly weight: Tensor<"float32">;
  readonly bias: Tensor<"float32"> | undefined;
}

/** How a kind of adapter works. */
export interface Method<Config extends ProductConfig> {
  /** Tensors before training, for which the model is as it was. `read` gives weights by canonical name. */
  start(
    config: Config,
    products: readonly TargetProduct[],
    context: { readonly random: Random; readonly read: (name: string) => Promise<Tensor<"float32">> },
  ): Promise<Record<string, Tensor<"float32">>>;
  /** Whether a tensor stays as it is in training. */
  isFixed(name: string): boolean;
  /** The adapted product. */
  apply(config: Config, context: ProductContext): Value;
  /** The changed weight and bias of a product; undefined where the adapter leaves it alone. */
  merge(config: Config, tensors: AdapterTensors, name: string, own: ProductWeights): ProductWeights | undefined;
}

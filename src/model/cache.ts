/**
 * Keys and values of one generation. They are fed to every step with spare capacity, and only the new rows come back, to
 * be written in place: no step copies the cache. Keys lie transposed, as their product wants them.
 */
import type { Tensor } from "../runtime/index.js";
import type { DecoderConfig } from "./decoder/config.js";
import { decoderInputs, keySite } from "./decoder/decoder.js";

/** Capacity grows by this many positions: copying all of it once in so many steps costs less than one step. */
const growth = 128;

interface Layer {
  /** [batch, keyValueHeads, headSize, capacity] */
  keys: Float32Array;
  /** [batch, keyValueHeads, capacity, headSize] */
  values: Float32Array;
}

export interface KeyValueCache {
  /** Columns held. */
  readonly columns: number;
  /** The cache's tensors as a step's inputs, by name. */
  feeds(): Record<string, Tensor>;
  /**
   * Appends the rows that a run returned under the names of its key and value sites, each [batch, new, heads, headSize],
   * after taking back the memory that was lent to it.
   */
  append(outputs: Readonly<Record<string, Tensor>>): void;
}

/** The sites whose rows a cache takes, in every layer. */
export function cachedSites(config: DecoderConfig): string[] {
  return Array.from({ length: config.layers }, (_, i) => [keySite(config, i), `layers.${i}.attn.v`]).flat();
}

/** An empty cache. */
export function createCache(config: DecoderConfig, batch: number): KeyValueCache {
  const { keyValueHeads: heads, headSize } = config;
  const groups = batch * heads;
  const layers: Layer[] = Array.from({ length: config.layers }, () => ({
    keys: new Float32Array(0),
    values: new Float32Array(0),
  }));
  let columns = 0;
  let capacity = 0;

  const grow = (needed: number) => {
    const larger = Math.ceil((needed + growth) / growth) * growth;
    for (const layer of layers) {
      const keys = new Float32Array(groups * headSize * larger);
      const values = new Float32Array(groups * headSize * larger);
      for (let i = 0; i < groups * headSize; i++)
        keys.set(layer.keys.subarray(i * capacity, i * capacity + columns), i * larger);
      for (let g = 0; g < groups; g++) {
        values.set(
          layer.values.subarray(g * capacity * headSize, (g * capacity + columns) * headSize),
          g * larger * headSize,
        );
      }
      layer.keys = keys;
      layer.values = values;
    }
    capacity = larger;
  };

  const write = (layer: Layer, keys: Float32Array, values: Float32Array, added: number) => {
    for (let b = 0; b < batch; b++) {
      for (let s = 0; s < added; s++) {
        for (let h = 0; h < heads; h++) {
          const from = ((b * added + s) * heads + h) * headSize;
          const group = b * heads + h;
          layer.values.set(values.subarray(from, from + headSize), (group * capacity + columns + s) * headSize);
          for (let e = 0; e < headSize; e++)
            layer.keys[(group * headSize + e) * capacity + columns + s] = keys[from + e] as number;
        }
      }
    }
  };

  return {
    get columns() {
      return columns;
    },
    feeds() {
      const feeds: Record<string, Tensor> = {};
      layers.forEach(({ keys, values }, i) => {
        feeds[decoderInputs.keys(i)] = { dtype: "float32", shape: [batch, heads, headSize, capacity], data: keys };
        feeds[decoderInputs.values(i)] = { dtype: "float32", shape: [batch, heads, capacity, headSize], data: values };
      });
      return feeds;
    },
    append(outputs) {
      const added = outputs[keySite(config, 0)]?.shape[1] as number;
      layers.forEach((layer, i) => {
        layer.keys = (outputs[decoderInputs.keys(i)]?.data as Float32Array | undefined) ?? layer.keys;
        layer.values = (outputs[decoderInputs.values(i)]?.data as Float32Array | undefined) ?? layer.values;
      });
      if (columns + added > capacity) grow(columns + added);
      layers.forEach((layer, i) => {
        const keys = (outputs[keySite(config, i)] as Tensor).data as Float32Array;
        write(layer, keys, (outputs[`layers.${i}.attn.v`] as Tensor).data as Float32Array, added);
      });
      columns += added;
    },
  };
}

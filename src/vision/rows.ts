/** Rows of feeds: a batch cut into smaller ones, or one of its rows many times. */
import type { Value } from "../graph/index.js";
import type { Network } from "../model/index.js";
import { elementCount, type Tensor, zeros } from "../runtime/index.js";
import type { Feeds } from "./targets.js";

/** The feeds, those with as many rows as the image has (by its symbol) as `change` makes them. */
export function withRows(network: Network, feeds: Feeds, image: Value, change: (feed: Tensor) => Tensor): Feeds {
  const [batch] = image.shape;
  const inputs = network.graph.inputs.filter(({ shape }) => shape[0] === batch);
  const names = new Set(inputs.map(({ node }) => node.attributes.name));
  return Object.fromEntries(Object.entries(feeds).map(([name, feed]) => [name, names.has(name) ? change(feed) : feed]));
}

/** Rows [start, end), in the same memory. */
export function rowsBetween({ dtype, shape, data }: Tensor, start: number, end: number): Tensor {
  const [, ...rest] = shape;
  const size = elementCount(rest);
  return { dtype, shape: [end - start, ...rest], data: data.subarray(start * size, end * size) };
}

/** One row `count` times, in new memory. */
export function repeatedRow(feed: Tensor, index: number, count: number): Tensor {
  const { dtype, shape, data } = rowsBetween(feed, index, index + 1);
  const result = zeros(dtype, [count, ...shape.slice(1)]);
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const target = new Uint8Array(result.data.buffer);
  for (let r = 0; r < count; r++) target.set(bytes, r * bytes.length);
  return result;
}

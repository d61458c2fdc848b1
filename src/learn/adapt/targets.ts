/** Which weights of a decoder are adapted: globs of canonical names, held against what the decoder has. */
import { nearestNames, usageError } from "../../errors.js";
import { type DecoderConfig, decoderWeights, globPattern } from "../../model/index.js";

/** Globs of canonical names: of weights (`layers.*.attn.q.weight`), or of products without the ending (`layers.*.mlp.*`); `**` goes across dots. */
export type Targets = string | readonly string[];

/** Every product of the layers by name (`layers.0.attn.q`), with how many numbers go in and come out. */
export function productsOf(config: DecoderConfig): Map<string, { readonly inputs: number; readonly outputs: number }> {
  return new Map(
    [...decoderWeights(config)].flatMap(([name, shape]) => {
      const [inputs, outputs] = shape;
      if (!name.startsWith("layers.") || inputs === undefined || outputs === undefined) return [];
      return [[name.replace(/\.weight$/, ""), { inputs, outputs }] as const];
    }),
  );
}

/** Names of products that globs stand for. Throws where one stands for none. */
export function targetProducts(config: DecoderConfig, targets: Targets): string[] {
  return matching([...productsOf(config).keys()], targets, "product");
}

/** Names of weights that globs stand for; of a tied decoder, the embedding stands for the unembedding. */
export function targetWeights(config: DecoderConfig, targets: Targets): string[] {
  const found = matching([...decoderWeights(config).keys()], targets, "weight");
  const own = found.map((name) => (config.tied && name === "unembed.weight" ? "embed.weight" : name));
  return [...new Set(own)];
}

function matching(names: readonly string[], targets: Targets, what: "product" | "weight"): string[] {
  const found = new Set<string>();
  for (const target of [targets].flat()) {
    const matches = globPattern(target);
    const own = names.filter((name) => matches.test(name) || (what === "product" && matches.test(`${name}.weight`)));
    if (own.length === 0)
      throw usageError(
        `the decoder has no ${what} "${target}"; the nearest are ${nearestNames(target, names).join(", ")}`,
      );
    for (const name of own) found.add(name);
  }
  if (found.size === 0) throw usageError("nothing is adapted: `targets` is empty");
  return names.filter((name) => found.has(name));
}

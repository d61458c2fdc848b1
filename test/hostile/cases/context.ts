/** Prompts that are longer than the model's context, in every form that a prompt has. */
import { join } from "node:path";
import { fixture } from "../checkpoints.ts";
import { goodModel, type HostileCase } from "../machine.ts";
import { recordFrom, written } from "./calls.ts";

const kind = "prompts past the context";
const withTokenizer = join(fixture("llama-gguf"), "model.gguf");
const ids = (count: number) => Array.from({ length: count }, (_, i) => i % 60);
const tooLong = ["has 129 tokens", "the model's context is 128"];

export const pastContext: readonly HostileCase[] = [
  {
    kind,
    name: "ids",
    arrange: () => ({ args: ["lens", "--model", goodModel, "--ids", ids(129).join(",")] }),
    exit: 2,
    says: ["the prompt", ...tooLong],
  },
  {
    kind,
    name: "ids to be recorded",
    arrange: (place) => {
      const { args } = recordFrom(place, goodModel);
      return { args: args.map((word) => (word === "5,7" ? ids(129).join(",") : word)) };
    },
    exit: 2,
    says: ["the prompt", ...tooLong],
  },
  {
    kind,
    name: "ids to be continued",
    arrange: () => ({ args: ["generate", "--model", goodModel, "--ids", ids(129).join(",")] }),
    exit: 2,
    says: ["the prompt", ...tooLong],
  },
  {
    kind,
    name: "one of several prompts",
    arrange: (place) => {
      const lines = [ids(3), ids(129), ids(4)].map((list) => JSON.stringify({ ids: list }));
      return { args: ["lens", "--model", goodModel, "--prompts", written(place, "p.jsonl", lines.join("\n"))] };
    },
    exit: 2,
    says: ["has 129 tokens", "the model's context is 128"],
  },
  {
    kind,
    name: "one of several prompts in one batch",
    arrange: (place) => {
      const { args } = recordFrom(place, goodModel);
      const lines = [ids(3), ids(129), ids(4)].map((list) => JSON.stringify({ ids: list }));
      const prompts = written(place, "p.jsonl", lines.join("\n"));
      return { args: args.map((word) => (word === "--ids" ? "--prompts" : word === "5,7" ? prompts : word)) };
    },
    exit: 2,
    says: ["prompt 1", ...tooLong],
  },
  {
    kind,
    name: "a text",
    arrange: () => ({ args: ["lens", "--model", withTokenizer, "x".repeat(300)] }),
    exit: 2,
    says: ["the prompt has 300 tokens", "the model's context is"],
  },
  {
    kind,
    name: "a text from standard input",
    arrange: () => ({ args: ["lens", "--model", withTokenizer, "-"], input: "y ".repeat(300) }),
    exit: 2,
    says: ["the prompt has", "the model's context is"],
  },
  {
    kind,
    name: "a conversation",
    arrange: () => ({ args: ["generate", "--chat", "--model", withTokenizer, "z".repeat(300)] }),
    exit: 2,
    says: ["the prompt has", "the model's context is"],
  },
  {
    kind,
    name: "a clean prompt to be patched",
    arrange: () => ({
      args: [
        "patch",
        "--model",
        withTokenizer,
        "--clean",
        "x".repeat(300),
        "--corrupt",
        "y".repeat(300),
        "--answer",
        "a",
        "--wrong",
        "b",
      ],
    }),
    exit: 2,
    says: ["has 300 tokens", "the model's context is"],
  },
  {
    kind,
    name: "learned positions",
    arrange: () => ({ args: ["lens", "--model", fixture("gpt2"), "--ids", ids(65).join(",")] }),
    exit: 2,
    says: ["the prompt has 65 tokens", "the model's context is 64"],
  },
];

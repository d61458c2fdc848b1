/** Chat templates: a conversation written as the one text that a model was trained on, by the template in its files. */
import { Template } from "@huggingface/jinja";
import { failure, messageOf, PatchclampError, usageError } from "../../errors.js";
import type { ChatMessage } from "./contract.js";
import { withinTime } from "./limit.js";

export interface ChatTemplate {
  readonly source: string;
  /** What the template may use beside the messages: `bos_token` and the like. */
  readonly variables: Readonly<Record<string, string>>;
}

/**
 * The conversation as the template writes it. `system` replaces a system message or comes first. A template that cannot
 * be read is a failure; one that refuses these messages (roles that must alternate, for example) a usage error.
 */
export function renderChat(
  template: ChatTemplate | undefined,
  messages: readonly ChatMessage[],
  options: { readonly system?: string; readonly addGenerationPrompt?: boolean } = {},
): string {
  if (template === undefined) {
    throw usageError("this model has no chat template: give it the prompt as plain text, or take an instruct model");
  }
  const turns = withSystem(messages, options.system);
  if (turns.length === 0) throw usageError("a conversation needs at least one message");
  for (const [i, { role, content }] of turns.entries()) {
    if (typeof role !== "string" || typeof content !== "string") {
      throw usageError(`message ${i}: a role and a content should stand here, both texts`);
    }
  }
  const parsed = parse(template.source);
  const values = {
    ...template.variables,
    messages: turns,
    add_generation_prompt: options.addGenerationPrompt ?? true,
    bounded_range: boundedRange,
  };
  try {
    return withinTime(patience, "the model's chat template", () => parsed.render(values));
  } catch (error) {
    if (error instanceof PatchclampError) throw error;
    throw usageError(`the model's chat template refuses these messages: ${messageOf(error)}`, error);
  }
}

/** Longest that a template may take (milliseconds): those of models take a few. */
const patience = 1000;
/** Numbers that a template may count: no conversation has so many turns. */
const longestRange = 100_000;

/** Python's range. The library's own would fill all memory if it were asked to. */
function boundedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const length = Math.ceil((stop - start) / step);
  if (!(length <= longestRange)) throw new Error(`range() of ${length} numbers; at most ${longestRange} are counted`);
  return Array.from({ length: Math.max(0, length) }, (_, i) => start + i * step);
}

function withSystem(messages: readonly ChatMessage[], system: string | undefined): ChatMessage[] {
  const copies = messages.map((message) => ({ ...message }));
  if (system === undefined) return copies;
  return [{ role: "system", content: system }, ...(copies[0]?.role === "system" ? copies.slice(1) : copies)];
}

function parse(source: string): Template {
  try {
    return new Template(`{% set range = bounded_range %}${source}`);
  } catch (error) {
    throw failure(`cannot read the model's chat template: ${messageOf(error)}`, error);
  }
}

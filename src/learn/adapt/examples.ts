/**
 * Examples of text as rows of tokens with the targets that count: plain text counts everywhere, a prompt's completion and
 * an assistant's turns alone. Rows are padded on the right, where no counted token looks.
 */
import { joinDocuments, shuffled } from "../../data/index.js";
import { usageError } from "../../errors.js";
import type { ChatMessage, Tokenizer } from "../../model/index.js";
import { type Tensor, tensor } from "../../runtime/index.js";

/** Text; a prompt and what should follow; or a conversation, whose assistant turns count. */
export type TextExample =
  | { readonly text: string }
  | { readonly prompt: string; readonly completion: string }
  | { readonly messages: readonly ChatMessage[] };

/** Tokens one after the other, and which of them are to be predicted. */
export interface TokenRow {
  readonly ids: readonly number[];
  readonly counted: readonly boolean[];
}

/**
 * An example from parsed JSON: a string, {text}, {prompt, completion} or {messages: [{role, content}]}.
 *
 * @throws where it is none; `where` says which it was
 */
export function textExample(value: unknown, where: string): TextExample {
  if (typeof value === "string") return { text: value };
  const { text, prompt, completion, messages } = (value ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof text === "string") return { text };
  if (typeof prompt === "string" && typeof completion === "string") return { prompt, completion };
  if (Array.isArray(messages) && messages.every(isMessage)) return { messages };
  throw usageError(
    `${where} is no example: expected {"text": ...}, {"prompt": ..., "completion": ...} or {"messages": [{"role": ..., "content": ...}]}`,
  );
}

function isMessage(value: unknown): value is ChatMessage {
  const { role, content } = (value ?? {}) as Readonly<Record<string, unknown>>;
  return typeof role === "string" && typeof content === "string";
}

/** Rows of tokens, int64 [rows, context]; the token after each, or -100 where it does not count; and rows / counted. */
export interface ExampleBatch extends Readonly<Record<string, Tensor>> {
  readonly ids: Tensor<"int64">;
  readonly targets: Tensor<"int64">;
  /** float32 [rows]: what each counted token's loss is multiplied by, for the mean over rows to be that over tokens. */
  readonly share: Tensor<"float32">;
}

const ignored = -100n;

/**
 * Examples as rows of at most `context` + 1 tokens (the last has no successor). Texts alone are joined, each ended by the
 * end-of-text token, and cut; other examples begin rows of their own, and long ones go on in the next row.
 *
 * @throws where nothing counts
 */
export function exampleRows(examples: readonly TextExample[], tokenizer: Tokenizer, context: number): TokenRow[] {
  const texts = examples.every((example) => "text" in example);
  const rows = examples.map((example, i) => tokensOf(example, tokenizer, `example ${i + 1}`));
  const joined = texts ? [joinedRows(rows, tokenizer)] : rows;
  const cut = joined.flatMap((row) => pieces(row, context));
  if (cut.length === 0) throw usageError("there are no tokens to learn: every example is empty");
  return cut;
}

function joinedRows(rows: readonly TokenRow[], { eos }: Tokenizer): TokenRow {
  const [end] = eos;
  const ids =
    end === undefined
      ? rows.flatMap((row) => row.ids)
      : [
          ...joinDocuments(
            rows.map((row) => row.ids),
            end,
          ),
        ];
  return { ids, counted: ids.map(() => true) };
}

/** Pieces that share one token with their neighbours; those that hold no target are left out. */
function pieces({ ids, counted }: TokenRow, context: number): TokenRow[] {
  const starts = Array.from({ length: Math.ceil((ids.length - 1) / context) }, (_, i) => i * context);
  return starts
    .map((from) => ({ ids: ids.slice(from, from + context + 1), counted: counted.slice(from, from + context + 1) }))
    .filter((row) => row.counted.slice(1).some(Boolean));
}

function tokensOf(example: TextExample, tokenizer: Tokenizer, where: string): TokenRow {
  const encode = (text: string, bos?: boolean) =>
    tokenizer.encode(text, bos === undefined ? {} : { bos }).map(({ id }) => id);
  if ("text" in example) return marked([[encode(example.text), true]]);
  const end = tokenizer.eos.slice(0, 1);
  if ("prompt" in example) {
    return marked([
      [encode(example.prompt), false],
      [[...encode(example.completion, false), ...end], true],
    ]);
  }
  return marked(turnsOf(example.messages, tokenizer, where).map(([text, mine]) => [encode(text, false), mine]));
}

/** A conversation as the template writes it, cut where an assistant's turn begins and ends. */
function turnsOf(messages: readonly ChatMessage[], tokenizer: Tokenizer, where: string): [string, boolean][] {
  const turns: [string, boolean][] = [];
  let written = "";
  const upTo = (text: string, mine: boolean) => {
    if (!text.startsWith(written))
      throw usageError(`${where}: the model's chat template changes earlier turns, so its answers can't be told apart`);
    turns.push([text.slice(written.length), mine]);
    written = text;
  };
  messages.forEach(({ role }, i) => {
    if (role !== "assistant") return;
    if (i === 0) throw usageError(`${where}: a conversation begins with the assistant, who has nothing to answer`);
    upTo(tokenizer.chat(messages.slice(0, i), { addGenerationPrompt: true }), false);
    upTo(tokenizer.chat(messages.slice(0, i + 1), { addGenerationPrompt: false }), true);
  });
  if (turns.length === 0) throw usageError(`${where}: the conversation has no turn of role "assistant" to learn`);
  return turns;
}

function marked(parts: readonly (readonly [readonly number[], boolean])[]): TokenRow {
  return { ids: parts.flatMap(([ids]) => ids), counted: parts.flatMap(([ids, counted]) => ids.map(() => counted)) };
}

export interface ExampleBatchesOptions {
  readonly size: number;
  readonly context: number;
  readonly seed?: number;
}

/**
 * Batches of rows, in another order each epoch, as a function of the step's number. An epoch's last rows share a batch with
 * the next one's first.
 */
export function exampleBatches(
  rows: readonly TokenRow[],
  { size, context, seed = 0 }: ExampleBatchesOptions,
): (step: number) => ExampleBatch {
  if (rows.length === 0) throw usageError("there are no rows to make batches of");
  let known = -1;
  let order: Uint32Array = new Uint32Array();
  const rowAt = (index: number): TokenRow => {
    const epoch = Math.floor(index / rows.length);
    if (epoch !== known) order = shuffled(rows.length, { seed, epoch });
    known = epoch;
    return rows[order[index % rows.length] as number] as TokenRow;
  };
  return (step) =>
    rowBatch(
      Array.from({ length: size }, (_, i) => rowAt(step * size + i)),
      context,
    );
}

/** Every row once, in order, in batches of one size: for validation. The last is filled up with rows that count nothing. */
export function* orderedBatches(
  rows: readonly TokenRow[],
  { size, context }: Omit<ExampleBatchesOptions, "seed">,
): Generator<ExampleBatch> {
  for (let at = 0; at < rows.length; at += size) {
    const own = rows.slice(at, at + size);
    const rest = Array.from({ length: size - own.length }, () => ({ ids: [], counted: [] }));
    yield rowBatch([...own, ...rest], context);
  }
}

function rowBatch(rows: readonly TokenRow[], context: number): ExampleBatch {
  const [ids, targets] = [new BigInt64Array(rows.length * context), new BigInt64Array(rows.length * context)];
  targets.fill(ignored);
  let count = 0;
  rows.forEach((row, r) => {
    for (let i = 0; i < Math.min(context, row.ids.length); i++) {
      ids[r * context + i] = BigInt(row.ids[i] as number);
      if (row.counted[i + 1] !== true) continue;
      targets[r * context + i] = BigInt(row.ids[i + 1] as number);
      count += 1;
    }
  });
  const share = new Float32Array(rows.length).fill(rows.length / Math.max(1, count));
  return {
    ids: tensor("int64", [rows.length, context], ids),
    targets: tensor("int64", [rows.length, context], targets),
    share: tensor("float32", [rows.length], share),
  };
}

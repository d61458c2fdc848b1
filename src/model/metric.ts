/**
 * A metric: one number of a run that people ask about, as text (`logit( Paris) - logit( London)`) or as a function traced
 * on top of the model. Token ids and weights of a text are inputs of the graph, so that other tokens are not another graph.
 */
import { usageError } from "../errors.js";
import {
  add,
  cast,
  exp,
  gather,
  logSoftmax,
  mul,
  reduceSum,
  type Tensor,
  tensorOf,
  type Value,
} from "../graph/index.js";
import type { ComputeContext } from "./context.js";
import type { Tokenizer } from "./tokenizer/index.js";

/**
 * What a gradient or a patch is measured by: one number a row. As text, a sum of terms: `logit(TOKEN)`, `logprob(TOKEN)`,
 * `prob(TOKEN)`, or an element of a site `layers.3.mlp.act[:, -1, 7]`, each with a number and `*` before it where wanted. A
 * token is its text with its space, `"quoted"` where it holds a parenthesis, or `#id`; it is read at the last position
 * unless another follows: `logit( Paris)[-2]`. A function returns a value of shape [batch], or [] for the batch's sum.
 */
export type Metric = string | ((context: ComputeContext) => Value);

interface TokenTerm {
  readonly kind: TokenKind;
  readonly factor: number;
  readonly token: string;
  readonly position: number;
}

interface SiteTerm {
  readonly kind: "site";
  readonly factor: number;
  readonly site: string;
  readonly position: number;
  readonly indices: readonly number[];
}

type TokenKind = "logit" | "logprob" | "prob";
type Term = TokenTerm | SiteTerm;

const tokenKinds: Readonly<Record<TokenKind, (logits: Value) => Value>> = {
  logit: (logits) => logits,
  logprob: (logits) => logSoftmax(logits),
  prob: (logits) => exp(logSoftmax(logits)),
};

/** What a text needs besides the context. */
export interface MetricTools {
  readonly tokenizer: Tokenizer;
  /** A further input of the call, under a name that only this metric has. */
  readonly feed: (name: string, tensor: Tensor) => Value;
}

/** The value of a metric, [batch] or []. */
export function metricValue(metric: Metric, context: ComputeContext, tools: MetricTools): Value {
  const value = typeof metric === "string" ? textValue(parseMetric(metric), context, tools) : metric(context);
  const batch = context.ids.shape[0];
  if (value.shape.length === 0 || (value.shape.length === 1 && value.shape[0] === batch)) return cast(value, "float32");
  throw usageError(
    `a metric is one number a row, shape [${batch}] or []; this one has shape [${value.shape.join(", ")}]: sum it over the other dimensions (reduceSum), or read it at one position (context.last)`,
  );
}

/** The terms of a metric's text. Throws where it is none. */
export function parseMetric(text: string): Term[] {
  const terms: Term[] = [];
  let rest = text.trim();
  while (rest !== "") {
    const sign = /^([+-]?)\s*(?:(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*\*\s*)?/.exec(rest) as RegExpExecArray;
    if (terms.length > 0 && sign[1] === "") throw malformed(text, rest);
    const factor = (sign[1] === "-" ? -1 : 1) * Number(sign[2] ?? 1);
    const body = rest.slice(sign[0].length);
    const term = tokenTerm(body, factor) ?? siteTerm(body, factor);
    if (term === undefined) throw malformed(text, body);
    terms.push(term.term);
    rest = body.slice(term.length).trim();
  }
  if (terms.length === 0) throw malformed(text, "");
  return terms;
}

function malformed(text: string, at: string) {
  return usageError(
    `"${text}" is not a metric (at "${at}"): a sum of logit(TOKEN), logprob(TOKEN), prob(TOKEN) or one element of a site, such as 'logit( Paris) - logit( London)[-1]' or '2 * layers.3.mlp.act[:, -1, 7]'`,
  );
}

function tokenTerm(text: string, factor: number): { term: Term; length: number } | undefined {
  const found = /^(logit|logprob|prob)\((?:("(?:[^"\\]|\\.)*")|([^)]*))\)(?:\[(-?\d+)\])?/.exec(text);
  if (found === null) return undefined;
  const [all, kind, quoted, plain = "", position = "-1"] = found;
  const token = quoted === undefined ? plain : unquoted(quoted);
  return { term: { kind: kind as TokenKind, factor, token, position: Number(position) }, length: all.length };
}

function unquoted(text: string): string {
  try {
    return JSON.parse(text) as string;
  } catch {
    throw usageError(`${text} is not a quoted token: write it as JSON does, such as "\\n"`);
  }
}

function siteTerm(text: string, factor: number): { term: Term; length: number } | undefined {
  const found = /^([A-Za-z][\w.@]*)\[\s*:((?:\s*,\s*-?\d+)+)\s*\]/.exec(text);
  if (found === null) return undefined;
  const [all, site = "", list = ""] = found;
  const [position, ...indices] = list.split(",").slice(1).map(Number) as [number, ...number[]];
  return { term: { kind: "site", factor, site, position, indices }, length: all.length };
}

function textValue(terms: readonly Term[], context: ComputeContext, tools: MetricTools): Value {
  const groups = new Map<string, TokenTerm[]>();
  const values: Value[] = [];
  for (const term of terms) {
    if (term.kind === "site") values.push(siteValue(term, values.length, context, tools));
    else groups.set(`${term.kind} ${term.position}`, [...(groups.get(`${term.kind} ${term.position}`) ?? []), term]);
  }
  for (const group of groups.values()) values.push(tokensValue(group, values.length, context, tools));
  return values.reduce((a, b) => add(a, b));
}

/** The weighted sum of several tokens' numbers at one position. */
function tokensValue(
  terms: readonly TokenTerm[],
  index: number,
  { at }: ComputeContext,
  { tokenizer, feed }: MetricTools,
): Value {
  const [{ kind, position }] = terms as readonly [TokenTerm];
  const name = `${kind} ${index}`;
  const ids = terms.map(({ token }) => tokenizer.single(token));
  const factors = terms.map(({ factor }) => factor);
  const numbers = tokenKinds[kind](at("logits", position));
  const alien = ids.find((id) => id >= (numbers.shape[1] as number));
  if (alien !== undefined)
    throw usageError(`the metric's token #${alien} has no logit: the model has ${numbers.shape[1]}`);
  const chosen = gather(numbers, feed(`${name} ids`, tensorOf("int64", [ids.length], ids)), 1);
  return reduceSum(mul(chosen, feed(`${name} factors`, tensorOf("float32", [ids.length], factors))), 1);
}

function siteValue(term: SiteTerm, index: number, { at }: ComputeContext, { feed }: MetricTools): Value {
  const { site, position, indices, factor } = term;
  const name = `${site} ${index}`;
  const value = at(site, position);
  if (value.shape.length !== indices.length + 1) {
    throw usageError(
      `the metric's ${site} must be one element: give the row as ":", the position, and ${value.shape.length - 1} indices more`,
    );
  }
  const element = indices.reduce((current, place, k) => {
    const size = current.shape[1] as number;
    if (place < -size || place >= size)
      throw usageError(`index ${place} of the metric's ${site} is out of range: ${size}`);
    return gather(current, feed(`${name} index ${k}`, tensorOf("int64", [], [place])), 1);
  }, value);
  return mul(element, feed(`${name} factor`, tensorOf("float32", [], [factor])));
}

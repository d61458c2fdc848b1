/**
 * The JSON of every command: TypeScript types and JSON Schemas from one description each. A command that runs prompts
 * prints one object: its result beside `model`, or with `--prompts` a list of them as `results`.
 */
import {
  atLeast,
  boolean,
  either,
  integer,
  type JsonSchema,
  list,
  number,
  object,
  oneOf,
  record,
  type Schema,
  type TypeOf,
  text,
} from "./jsonSchema.js";

const bytesOfToken = { bytes: list(integer("bytes, where they are not valid UTF-8 by themselves")) };
const tokenFields = { id: integer(), text: text() };
const token = object(tokenFields, bytesOfToken);
const tokens = list(token);
const probability = atLeast(0, "of the full softmax");
const tokenProbability = object({ ...tokenFields, probability }, bytesOfToken);
const top = list(tokenProbability);
const kl = number("nats");
const shape = list(either(integer(), text("a size that the prompt decides")));

const model = object({
  name: text("as it was asked for"),
  source: text("the place that it came from"),
  hash: text("sha256 over its files"),
  precision: text(),
});

const lensResult = object({
  tokens,
  layers: list(
    object({
      site: text(),
      positions: list(object({ top, kl }, { target: object({ rank: integer("from 1"), probability }) })),
    }),
  ),
});

const generateResult = object({
  tokens,
  ids: list(integer()),
  text: text(),
  tokensPerSecond: atLeast(0),
  finish: oneOf("stop", "end", "length", "context"),
});

const clampResult = object({
  tokens,
  before: object({ top }),
  after: object({ top }),
  kl,
  movers: list(object({ ...tokenFields, before: probability, after: probability }, bytesOfToken)),
});

const attentionResult = object({
  tokens,
  heads: list(object({ layer: integer(), head: integer(), pattern: list(list(number("query, key"))) })),
});

const attributeResult = object(
  {
    tokens,
    target: token,
    position: integer(),
    total: number("the target's logit, or its difference from that of `versus`"),
    terms: list(
      object(
        { name: text(), kind: oneOf("embed", "head", "attention bias", "mlp", "bias"), value: number() },
        { layer: integer(), head: integer() },
      ),
    ),
  },
  { versus: token },
);

const ablateResult = object({
  tokens,
  how: oneOf("zero", "mean", "resample"),
  sites: list(
    object({
      site: text(),
      kl,
      before: tokenProbability,
      after: atLeast(0, "the probability of the same token afterwards"),
      top,
    }),
  ),
});

const pairMetric = { text: text("a metric as `gradient --of` takes it"), clean: number(), corrupt: number() };
const pairAnswers = { answer: token, wrong: token };

const patchResult = object(
  {
    tokens,
    estimated: boolean("to first order, in place of a run for each number"),
    by: oneOf("position", "head"),
    sites: list(text()),
    positions: list(integer()),
    metric: object(pairMetric),
    recovered: list(list(number("share of the metric: sites x positions, or sites x heads"))),
  },
  { ...pairAnswers, heads: list(integer()) },
);

const graphResult = object(
  {
    tokens,
    metric: object({ ...pairMetric, graph: number("with only the graph's nodes their own") }),
    faithfulness: number("share of the metric that these nodes keep: 0 none, 1 all"),
    nodes: list(
      object(
        { name: text(), kind: oneOf("embed", "head", "attention", "mlp", "logits") },
        { layer: integer(), head: integer() },
      ),
    ),
    edges: list(
      object(
        { from: text(), to: text(), score: number("estimated change of the metric") },
        { input: oneOf("q", "k", "v") },
      ),
    ),
    scored: object({ edges: integer(), size: atLeast(0, "sum of the sizes of all scores") }),
    kept: atLeast(0, "share of that sum in these edges"),
  },
  pairAnswers,
);

const saliencyResult = object(
  {
    tokens,
    method: oneOf("gradient", "gradientTimesInput", "smooth", "integrated", "relevance"),
    at: text("the site"),
    of: text("the metric"),
    value: number("of the metric"),
    scores: list(number("of each token")),
  },
  {
    baselineValue: number("of the metric where the path starts"),
    completeness: object({
      sum: number("of all scores"),
      difference: number("of the metric from the baseline's"),
      error: atLeast(0, "their distance as a share"),
    }),
    steps: integer("points of the path"),
    warning: text(),
    conservation: list(object({ site: text(), sum: number("of relevance"), error: number("less the metric") })),
  },
);

const recordTokens = object({ tokens });
const gradientTokens = object({ tokens, value: number("of the metric") });
const recordFields = { model, file: text(), sites: record(list(integer())) };

const siteList = list(object({ name: text(), shape, aliases: list(text()) }));

const finetuneResult = object(
  {
    model,
    out: text("the folder"),
    kind: oneOf("lora", "dora", "ia3", "vera", "weights"),
    trained: integer("numbers that were trained"),
    rows: integer("of tokens, as the file was cut"),
    steps: integer(),
    loss: object({ first: number("nats a token, of the first tenth of the steps"), last: number("of the last tenth") }),
    tokensPerSecond: atLeast(0, "padding included; 0 where nothing was left to do"),
  },
  { validation: object({ before: number("nats a token"), after: number() }) },
);

const cached = object({ source: text(), bytes: integer() });
const modelList = object({
  models: list(
    object({
      name: text(),
      title: text(),
      licence: text(),
      parameters: integer(),
      bytes: integer("size of the download from the first place"),
      places: list(text()),
      cached: list(cached),
    }),
  ),
  others: list(cached),
});

const pullResult = object({
  model: object({ name: text(), source: text(), hash: text() }),
  bytes: integer(),
  files: list(object({ name: text(), bytes: integer() })),
});

const cacheContents = {
  models: list(object({ name: text(), source: text(), bytes: integer() })),
  weights: list(object({ file: text(), source: text(), bytes: integer() })),
};
const cacheList = object({ folder: text(), bytes: integer(), ...cacheContents });
const cacheClear = object({ folder: text(), bytes: integer("removed"), ...cacheContents });

/** One prompt's object, or the list of them. */
function perPrompt<T>(result: Schema<T>): JsonSchema {
  const { properties = {}, required = [] } = result.json;
  const single: JsonSchema = {
    ...result.json,
    properties: { model: model.json, ...properties },
    required: ["model", ...required],
  };
  return { anyOf: [single, object({ model, results: list(result) }).json] };
}

/** What each command prints with `--json`, by the command's name. */
export const schemas: Readonly<Record<string, JsonSchema>> = {
  models: modelList.json,
  pull: pullResult.json,
  sites: siteList.json,
  lens: perPrompt(lensResult),
  record: either(object({ ...recordFields, tokens }), object({ ...recordFields, results: list(recordTokens) })).json,
  gradient: either(
    object({ ...recordFields, tokens, value: number("of the metric") }),
    object({ ...recordFields, results: list(gradientTokens) }),
  ).json,
  clamp: perPrompt(clampResult),
  generate: perPrompt(generateResult),
  attention: perPrompt(attentionResult),
  attribute: perPrompt(attributeResult),
  ablate: perPrompt(ablateResult),
  saliency: perPrompt(saliencyResult),
  patch: perPrompt(patchResult),
  graph: perPrompt(graphResult),
  finetune: finetuneResult.json,
  cache: cacheList.json,
  "cache clear": cacheClear.json,
};

export type TokenJson = TypeOf<typeof token>;
export type LensResult = TypeOf<typeof lensResult>;
export type GenerateResult = TypeOf<typeof generateResult>;
export type ClampResult = TypeOf<typeof clampResult>;
export type AttentionResult = TypeOf<typeof attentionResult>;
export type AttributeResult = TypeOf<typeof attributeResult>;
export type AblateResult = TypeOf<typeof ablateResult>;
export type SaliencyResult = TypeOf<typeof saliencyResult>;
export type PatchResult = TypeOf<typeof patchResult>;
export type GraphResult = TypeOf<typeof graphResult>;
export type FinetuneResult = TypeOf<typeof finetuneResult>;
export type RecordTokens = TypeOf<typeof recordTokens>;
export type SiteList = TypeOf<typeof siteList>;
export type ModelList = TypeOf<typeof modelList>;
export type PullResult = TypeOf<typeof pullResult>;
export type CacheList = TypeOf<typeof cacheList>;
export type CacheClear = TypeOf<typeof cacheClear>;

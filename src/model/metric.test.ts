/** Metrics as text and as functions: what they parse to, what they compute, and what is said of those that are none. */
import { beforeAll, describe, expect, it } from "vitest";
import { openTiny, tinyFolder, tinyPrompts } from "../../test/support/tinyModel.js";
import { add, input, mul, reduceSum, sub, type Value } from "../graph/index.js";
import { row, type Tensor, toNumbers } from "../runtime/index.js";
import { type ComputeContext, type Metric, type Model, set } from "./index.js";
import { metricValue, parseMetric } from "./metric.js";

const { A, B, C } = tinyPrompts;

describe("the text", () => {
  const token = (kind: string, text: string, factor = 1, position = -1) => ({ kind, factor, token: text, position });
  const site = (name: string, position: number, indices: number[], factor = 1) => ({
    kind: "site",
    factor,
    site: name,
    position,
    indices,
  });

  it.each([
    ["logit( Paris)", [token("logit", " Paris")]],
    ["  logprob(#7)[-2] ", [token("logprob", "#7", 1, -2)]],
    ["prob(a)[3]", [token("prob", "a", 1, 3)]],
    ["-logit(#7)", [token("logit", "#7", -1)]],
    ["logit( Paris) - logit( London)", [token("logit", " Paris"), token("logit", " London", -1)]],
    ["logit(a)+logit(b)-logit(c)", [token("logit", "a"), token("logit", "b"), token("logit", "c", -1)]],
    ["2 * logit(#1) - 0.5*logit(#2)", [token("logit", "#1", 2), token("logit", "#2", -0.5)]],
    ["1e-3*logit(#1) + 2.5E2 * prob(#2)", [token("logit", "#1", 0.001), token("prob", "#2", 250)]],
    ['logit(" (")[1]', [token("logit", " (", 1, 1)]],
    ['logit("a)b") - logit("\\n\\u00e9\\"")', [token("logit", "a)b"), token("logit", '\né"', -1)]],
    ["logit(- x *)", [token("logit", "- x *")]],
    ["layers.3.mlp.act[:, -1, 7]", [site("layers.3.mlp.act", -1, [7])]],
    ["3 * layers.0.attn.z[ : ,2 , 1, -4 ]", [site("layers.0.attn.z", 2, [1, -4], 3)]],
    [
      "embed@before[:, 0, 0] - blocks.1.hook_resid_post[:, -1, 2]",
      [site("embed@before", 0, [0]), site("blocks.1.hook_resid_post", -1, [2], -1)],
    ],
    ["logit(#1) - layers.1.residPost[:, -1, 0]", [token("logit", "#1"), site("layers.1.residPost", -1, [0], -1)]],
  ])("%s", (text, terms) => {
    expect(parseMetric(text)).toEqual(terms);
  });

  it.each([
    ["", ""],
    ["Paris", "Paris"],
    ["logit Paris", "logit Paris"],
    ["logits(#1)", "logits(#1)"],
    ["2 logit(#1)", "2 logit(#1)"],
    ["logit(#1) logit(#2)", "logit(#2)"],
    ["logit(#1) -", ""],
    ["logit(#1) - - logit(#2)", "- logit(#2)"],
    ["logit(#1)[1.5]", "[1.5]"],
    ["logit(#1)[]", "[]"],
    ["layers.3.mlp.act", "layers.3.mlp.act"],
    ["layers.3.mlp.act[0, -1, 7]", "layers.3.mlp.act[0, -1, 7]"],
    ["layers.3.mlp.act[:, -1, ]", "layers.3.mlp.act[:, -1, ]"],
    ["layers.3.mlp.act[:, , 7]", "layers.3.mlp.act[:, , 7]"],
    ["layers.3.mlp.act[:, 1:3, 7]", "layers.3.mlp.act[:, 1:3, 7]"],
    ["layers.*.mlp.act[:, -1, 7]", "layers.*.mlp.act[:, -1, 7]"],
    ["logit(a) * 2", "* 2"],
  ])("is none: %s", (text, at) => {
    const message = `"${text}" is not a metric (at "${at}"): a sum of logit(TOKEN), logprob(TOKEN), prob(TOKEN) or one element of a site, such as 'logit( Paris) - logit( London)[-1]' or '2 * layers.3.mlp.act[:, -1, 7]'`;
    expect(() => parseMetric(text)).toThrow(message);
  });

  it("says that a quoted token is written as JSON does", () => {
    expect(() => parseMetric('logit("\\q")')).toThrow(
      '"\\q" is not a quoted token: write it as JSON does, such as "\\n"',
    );
  });
});

describe("the value", () => {
  let model: Model;
  let logits: Float64Array[];
  beforeAll(async () => {
    model = await openTiny("llama-gqa");
    const recorded = (await model.record([A, C, B], "logits")).sites.logits as Tensor;
    logits = [0, 1, 2].map((r) => toNumbers(row(row(recorded, r), -1)));
  });

  const valuesOf = async (metric: Metric, prompts: number[][] = [A, C, B], view = model) => {
    const { value } = await view.compute(prompts, (context) => ({ value: context.metric(metric) }));
    return [...toNumbers(value as Tensor)];
  };
  const logProbability = (own: Float64Array, id: number) =>
    (own[id] as number) - Math.log(own.reduce((sum, x) => sum + Math.exp(x), 0));
  /** Float32 of logits near 10. */
  const close = (found: readonly number[], wanted: readonly number[]) => {
    expect(found.length).toBe(wanted.length);
    found.forEach((x, i) => {
      expect(x).toBeCloseTo(wanted[i] as number, 4);
    });
  };

  it("is one number a row, of logits, log-probabilities and probabilities", async () => {
    close(
      await valuesOf("logit(#7)"),
      logits.map((own) => own[7] as number),
    );
    close(
      await valuesOf("logprob(#7)"),
      logits.map((own) => logProbability(own, 7)),
    );
    close(
      await valuesOf("prob(#7) + prob(#8)"),
      logits.map((own) => Math.exp(logProbability(own, 7)) + Math.exp(logProbability(own, 8))),
    );
    close(
      await valuesOf("2*logit(#7) - 0.5 * logprob(#3) - logit(#1)"),
      logits.map((own) => 2 * (own[7] as number) - 0.5 * logProbability(own, 3) - (own[1] as number)),
    );
  });

  it("reads positions from the end of each row, and from its start", async () => {
    const alone = toNumbers((await model.record(C, "logits[0, -2]")).sites["logits[0, -2]"] as Tensor);
    close(await valuesOf("logit(#7)[-2]", [A, C]), [
      (await valuesOf("logit(#7)[7]", [A]))[0] as number,
      alone[7] as number,
    ]);
    close(await valuesOf("logit(#7)[2]", [C]), [alone[7] as number]);
    close(await valuesOf("logit(#7)[2] - logit(#7)[-2]", [C]), [0]);
  });

  it("reads an element of a site, clamps included, and before them", async () => {
    const site = "layers.1.mlp.act";
    const recorded = (await model.record(A, `${site}[0, 3]`)).sites[`${site}[0, 3]`] as Tensor;
    const element = toNumbers(recorded)[5] as number;
    close(await valuesOf(`-2 * ${site}[:, 3, 5]`, [A]), [-2 * element]);
    close(await valuesOf(`${site}[:, 3, -35]`, [A]), [element]);
    close(await valuesOf("blocks.1.mlp.hook_post[:, -6, 5]", [A]), [element]);
    const clamped = model.with(set(`${site}[:, 3, 5]`, 8));
    close(await valuesOf(`${site}[:, 3, 5] - ${site}@before[:, 3, 5]`, [A], clamped), [8 - element]);
  });

  it("is a function's, of one number a row or of the batch's sum", async () => {
    const own = ({ last }: ComputeContext): Value => reduceSum(mul(last("logits"), last("logits")), 1);
    const squares = logits.map((row) => row.reduce((sum, x) => sum + x * x, 0));
    (await valuesOf(own)).forEach((x, i) => {
      expect(x / (squares[i] as number)).toBeCloseTo(1, 5);
    });
    const sum = await valuesOf((context) => reduceSum(own(context), 0));
    expect((sum[0] as number) / squares.reduce((a, b) => a + b)).toBeCloseTo(1, 5);
  });

  it("is its own where a function reads several", async () => {
    const difference = ({ metric }: ComputeContext) => sub(metric("logit(#7)"), metric("logit(#8)"));
    close(
      await valuesOf(difference),
      logits.map((own) => (own[7] as number) - (own[8] as number)),
    );
    const nested = ({ metric }: ComputeContext) => add(metric(difference), metric("layers.1.mlp.act[:, -1, 5]"));
    const act = await valuesOf("layers.1.mlp.act[:, -1, 5]");
    close(
      await valuesOf(nested),
      logits.map((own, r) => (own[7] as number) - (own[8] as number) + (act[r] as number)),
    );
  });

  it("needs no other session for other tokens, factors, positions and indices", async () => {
    await valuesOf("logit(#7) - logit(#8)[1] + layers.1.mlp.act[:, -1, 5]");
    const { sessionsOpened } = model.statistics();
    const [again] = await valuesOf("-2*logit(#1) + 3 * logit(#2)[-3] - layers.1.mlp.act[:, 2, 9]", [C]);
    expect(model.statistics().sessionsOpened).toBe(sessionsOpened);
    const parts = ["logit(#1)", "logit(#2)[-3]", "layers.1.mlp.act[:, 2, 9]"].map((part) => valuesOf(part, [C]));
    const [[a], [b], [c]] = (await Promise.all(parts)) as [number[], number[], number[]];
    expect(again).toBeCloseTo(-2 * (a as number) + 3 * (b as number) - (c as number), 4);
  });

  it.each([
    ["logit(#61)", /^61 is not a token id; ids go from 0 to 60/],
    ["logit(#7)[9]", /position 9 of logits is out of range: the prompt has 9 tokens/],
    ["logit(#7)[-10]", /position -10 of logits is out of range/],
    ["layers.1.mlp.act[:, -1]", /must be one element: give the row as ":", the position, and 1 indices more/],
    ["layers.1.mlp.act[:, -1, 40]", /index 40 of the metric's layers\.1\.mlp\.act is out of range: 40/],
    ["layers.1.mlp.act[:, -1, -41]", /index -41 .* is out of range: 40/],
    ["layers.1.mlp.oct[:, -1, 4]", /layers\.1\.mlp\.(act|out)/],
    ["layers.1.attn.pattern[:, 0, 1, 1]", /attn\.pattern has no single position to read/],
  ])("says what is wrong with %s", async (metric, message) => {
    await expect(valuesOf(metric, [A])).rejects.toThrow(message);
  });

  it("says that a metric is one number a row", async () => {
    const whole = ({ site }: ComputeContext) => site("embed");
    await expect(valuesOf(whole)).rejects.toThrow(
      "a metric is one number a row, shape [batch] or []; this one has shape [batch, seq, 24]: sum it over the other dimensions (reduceSum), or read it at one position (context.last)",
    );
  });
});

describe("tokens as text", () => {
  it("are read as the model's tokenizer reads them, and an error shows the split", async () => {
    const model = await openTiny(`${tinyFolder}llama-gguf-quantized/model.gguf`);
    const [token] = model.tokens(" the");
    const read = async (metric: string) => {
      const { value } = await model.compute([5, 6], (context) => ({ value: context.metric(metric) }));
      return toNumbers(value as Tensor)[0];
    };
    expect(token?.text).toBe(" the");
    expect(await read("logit( the)")).toBe(await read(`logit(#${token?.id})`));
    expect(await read('logit(" the")')).toBe(await read(`logit(#${token?.id})`));
    await expect(read("logit( then the)")).rejects.toThrow(/" then the" is \d tokens, not one: " the" #\d+ \+ /);
    const short = { at: () => input("logits", "float32", ["batch", 4]), ids: input("ids", "int64", ["batch", "seq"]) };
    const tools = {
      tokenizer: model.tokenizer,
      feed: (name: string, { dtype, shape }: Tensor) => input(name, dtype, shape),
    };
    expect(() => metricValue("logit(#9)", short as unknown as ComputeContext, tools)).toThrow(
      "the metric's token #9 has no logit: the model has 4",
    );
    await expect(read("logit()")).rejects.toThrow(/"" is 0 tokens, not one/);
  });
});

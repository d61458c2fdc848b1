/** `patchclamp saliency`: which tokens of a prompt a metric depends on, by gradients or by relevance. */
import { type Command, Option } from "commander";
import { usageError } from "../../errors.js";
import type { DifferentiableFunction, RelevanceRule } from "../../explain/index.js";
import type { BarFigure } from "../../figures/index.js";
import type { Context } from "../context.js";
import { addExample, addPictureOption, addPromptOptions, addRunOptions, type RunOptions } from "../options.js";
import { terminalFigure } from "../pictures.js";
import { promptTokens } from "../prompts.js";
import { type Run, runEach, tokensJson } from "../run.js";
import type { SaliencyResult } from "../schemas.js";
import { formatProbability } from "../terminal.js";
import { sizeNumber, wholeNumber } from "../values.js";

type Method = SaliencyResult["method"];

interface Options extends RunOptions {
  readonly of: string;
  readonly method: Method;
  readonly at: string;
  readonly samples?: number;
  readonly noise?: number;
  readonly steps?: number;
  readonly baseline?: "mean" | "zero";
  readonly baselinePrompt?: string;
  readonly rule?: RelevanceRule;
  readonly out?: string;
}

/** What a method found: scores with what tells whether they can be trusted. */
type Found = Omit<SaliencyResult, "tokens" | "method" | "at" | "of">;

interface Asked {
  readonly run: Run;
  readonly f: DifferentiableFunction;
  readonly options: Options;
  /** The signal and the display of methods that evaluate many points. */
  readonly watched: { readonly signal: AbortSignal; onProgress(done: number, total: number): void };
}

interface Entry {
  readonly title: string;
  readonly score: string;
  /** The options that go with this method. */
  readonly options: readonly (keyof Options)[];
  readonly find: (explain: typeof import("../../explain/index.js"), asked: Asked) => Promise<Found>;
}

const methods: Readonly<Record<Method, Entry>> = {
  gradient: {
    title: "Gradient",
    score: "length of the gradient",
    options: [],
    async find({ saliency }, { f }) {
      const { value, map } = await saliency(f);
      return { value, scores: [...map.data] };
    },
  },
  gradientTimesInput: {
    title: "Gradient times input",
    score: "gradient times input",
    options: [],
    async find({ gradientTimesInput }, { f }) {
      const { value, sums } = await gradientTimesInput(f);
      return { value, scores: [...sums.data] };
    },
  },
  smooth: {
    title: "Smoothed gradient",
    score: "length of the mean gradient of noisy copies",
    options: ["samples", "noise"],
    async find({ smoothGrad }, { f, options: { samples = 32, noise = 0.1, seed }, watched }) {
      const { value, map } = await smoothGrad(f, { samples, noise, seed, ...watched });
      return { value, scores: [...map.data] };
    },
  },
  integrated: {
    title: "Integrated gradients",
    score: "attribution",
    options: ["steps", "baseline", "baselinePrompt"],
    find: integrated,
  },
  relevance: { title: "Relevance", score: "relevance", options: ["rule"], find: relevanceScores },
};

export function define(command: Command, context: Context): void {
  addPromptOptions(command);
  command
    .requiredOption("--of <metric>", "what the tokens matter for, such as 'logit( Paris)-logit( London)'")
    .addOption(new Option("--method <name>", "the score").choices(Object.keys(methods)).default("gradient"))
    .option("--at <site>", "the site that scores are of, one with a value for each token", "embed")
    .option("--samples <count>", "smooth: noisy copies (default: 32)", wholeNumber(1))
    .option("--noise <share>", "smooth: their noise, as a share of the range of values (default: 0.1)", sizeNumber)
    .option("--steps <count>", "integrated: points of the path, before more are added (default: 32)", wholeNumber(1))
    .addOption(
      new Option(
        "--baseline <kind>",
        "integrated: the path starts at the mean embedding (default for embed), or at zeros",
      ).choices(["mean", "zero"]),
    )
    .option("--baseline-prompt <text>", "integrated: the path starts at another prompt of as many tokens")
    .addOption(
      new Option("--rule <name>", "relevance: how attention hands it on (default: attnLrp)").choices([
        "attnLrp",
        "detached",
      ]),
    );
  addPictureOption(command);
  const clamps = addRunOptions(command);
  addExample(command, `patchclamp saliency "The capital of France is" --of 'logit( Paris)-logit( London)'`);
  command.action(async (argument: string | undefined, options: Options) => {
    checkOptions(options);
    await runEach(context, { argument, options, clamps: clamps() }, (run) => scoresOf(run, options, context));
  });
}

/** Refuses options of another method. */
function checkOptions(options: Options): void {
  for (const [name, entry] of Object.entries(methods)) {
    const alien = entry.options.find((key) => name !== options.method && options[key] !== undefined);
    if (alien === undefined) continue;
    const flag = alien.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw usageError(`--${flag} goes with --method ${name}, not ${options.method}`);
  }
  if (options.baseline !== undefined && options.baselinePrompt !== undefined)
    throw usageError("give --baseline or --baseline-prompt, one of them");
}

async function scoresOf(run: Run, options: Options, { progress, signal, stdout }: Context) {
  const explain = await import("../../explain/index.js");
  const { of, at, method } = options;
  const f = await explain.modelFunction(run.model, run.ids, { of, at });
  checkTokens(f, at, run.ids.length);
  const onProgress = (done: number, total: number) => progress.step("evaluating gradients", done, total, "runs");
  const found = await methods[method].find(explain, { run, f, options, watched: { signal, onProgress } });
  const result: SaliencyResult = { tokens: tokensJson(run.tokens), method, at, of, ...found };
  const figure = figureOf(result, run);
  const text = async () => (await terminalFigure(figure, stdout)) + checksOf(result).join("");
  return { result, text, figures: [figure] };
}

/** Throws where the site has no number, or several, for a token. */
function checkTokens({ at: { shape }, features }: DifferentiableFunction, site: string, count: number): void {
  const places = shape.filter((_, d) => !features.includes(d));
  if (places.length === 1 && places[0] === count) return;
  throw usageError(
    `${site} has no value for each of the ${count} tokens: name a site such as embed or layers.0.residPost, and select no positions`,
  );
}

async function integrated(
  { integratedGradients, meanEmbedding, promptBaseline }: typeof import("../../explain/index.js"),
  { run, f, options, watched }: Asked,
): Promise<Found> {
  const { at, baselinePrompt, steps = 32 } = options;
  const { baseline = at === "embed" ? "mean" : "zero" } = options;
  if (baseline === "mean" && at !== "embed")
    throw usageError(`the mean of embeddings is a baseline of embed, not of ${at}: use zero or --baseline-prompt`);
  const start = async () => {
    if (baselinePrompt === undefined) return baseline === "zero" ? "zero" : meanEmbedding(run.model, run.ids);
    const tokens = promptTokens(run.plain, { text: baselinePrompt }, options);
    return promptBaseline(
      run.model,
      tokens.map(({ id }) => id),
      at,
    );
  };
  const found = await integratedGradients(f, { baseline: await start(), steps, ...watched });
  const { value, sums, baselineValue, completeness, warning } = found;
  return {
    value,
    scores: [...sums.data],
    baselineValue,
    completeness,
    steps: found.steps,
    ...(warning === undefined
      ? {}
      : { warning: "scores don't add up: choose a nearer baseline (--baseline-prompt), or more --steps" }),
  };
}

async function relevanceScores(
  { relevance }: typeof import("../../explain/index.js"),
  { run, options: { of, at, rule = "attnLrp" } }: Asked,
): Promise<Found> {
  const { value, byToken, sites, conservation } = await relevance(run.model, run.ids, {
    of,
    rule,
    at: at === "embed" ? [] : at,
  });
  const relevances = at === "embed" ? undefined : Object.values(sites)[0]?.data;
  return {
    value,
    scores: relevances === undefined ? byToken : sumsOf(relevances as Float32Array, run.ids.length),
    conservation,
  };
}

/** Sums of a row [tokens, ...] over all but its tokens. */
function sumsOf(values: Float32Array, tokens: number): number[] {
  const size = values.length / tokens;
  return Array.from({ length: tokens }, (_, i) => values.subarray(i * size, (i + 1) * size).reduce((a, b) => a + b, 0));
}

function figureOf({ tokens, method, at, of, value, scores }: SaliencyResult, { label }: Run): BarFigure {
  const { title, score } = methods[method];
  return {
    kind: "bar",
    title: `${title}: ${of}`,
    subtitle: `${label}, at ${at}; the metric is ${value.toPrecision(5)}`,
    bars: tokens.map(({ text }, i) => ({ label: text, value: scores[i] ?? null })),
    labelAxis: { label: "token" },
    valueAxis: { label: score },
  };
}

/** Lines that say how far scores add up to what they should. */
function checksOf(result: SaliencyResult): string[] {
  const { value, baselineValue = 0, completeness, steps, warning, conservation = [] } = result;
  const lines: string[] = [];
  if (completeness !== undefined) {
    const { sum, difference, error } = completeness;
    lines.push(
      `scores add up to ${sum.toFixed(3)}, the metric less the baseline's (${baselineValue.toFixed(3)}) is ${difference.toFixed(3)}: ${formatProbability(error)} apart (${steps} points)`,
    );
  }
  if (warning !== undefined) lines.push(`warning: ${warning}`);
  const [first] = conservation;
  if (first !== undefined) {
    const worst = conservation.reduce((a, b) => (Math.abs(b.error) > Math.abs(a.error) ? b : a));
    lines.push(
      `relevance adds up to ${first.sum.toFixed(3)} of ${value.toFixed(3)} at ${first.site}; farthest from it at ${worst.site}: ${worst.sum.toFixed(3)}`,
    );
  }
  return lines.map((line) => `${line}\n`);
}

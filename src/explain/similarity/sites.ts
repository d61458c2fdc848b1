/** Every layer of one model against every layer of another (or of itself): the similarity matrix behind a heatmap. */

import { setImmediate } from "node:timers/promises";
import { usageError } from "../../errors.js";
import type { Matrix } from "../../linalg/index.js";
import type { Model, Prompt, Token } from "../../model/index.js";
import type { Runtime, Tensor } from "../../runtime/index.js";
import { withRuntime } from "../../runtime/index.js";
import { type SiteExamplesOptions, siteExamples } from "../probes/features.js";
import { readRows } from "../probes/rows.js";
import { type Basis, basisOf, correlationsOf, cutOf, principalBasis, projectionWeighted } from "./cca.js";
import { alignment, type CkaOptions, centredKernel } from "./cka.js";
import { type ComparisonMeasure, entriesOf, entriesSimilarity } from "./compare.js";
import { type DissimilarityMeasure, dissimilarityMatrix } from "./dissimilarity.js";
import { type ProcrustesSide, procrustesCosine, procrustesSide } from "./procrustes.js";

/**
 * How layers are compared: `cka`, `rsa` (dissimilarity matrices, an example a condition), `cca`, `svcca` (means of
 * correlations), `pwcca`, or `procrustes` (the cosine of the angle).
 */
export type SimilarityMeasure = "cka" | "rsa" | "cca" | "svcca" | "pwcca" | "procrustes";

export interface RsaSitesOptions extends SiteExamplesOptions {
  /** `cka` unless given. */
  readonly measure?: SimilarityMeasure;
  /** Sites of the second model; those of the first unless given. */
  readonly otherSites?: string | readonly string[];
  /** Of `cka`; debiased unless given. */
  readonly cka?: Omit<CkaOptions, "runtime">;
  /** Of `rsa`; correlation distances compared by Spearman's correlation unless given. */
  readonly rsa?: {
    readonly dissimilarity?: Exclude<DissimilarityMeasure, "mahalanobis" | "crossnobis">;
    readonly comparison?: ComparisonMeasure;
  };
  /** Of `svcca`: the share of variance kept; 0.99 unless given. */
  readonly keep?: number;
  /** Called after each row with the pairs of sites done so far. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly runtime?: Runtime;
}

export interface SiteSimilarity {
  readonly measure: SimilarityMeasure;
  /** Sites of the first model. */
  readonly rows: readonly string[];
  /** Sites of the second. */
  readonly columns: readonly string[];
  /** [rows][columns] */
  readonly values: readonly (readonly number[])[];
  /** Examples that were compared. */
  readonly examples: number;
  /** The first model's tokens. */
  readonly tokens: readonly (readonly Token[])[];
}

/**
 * How similar the sites of two models are on the same examples. Each model runs once; what a measure needs of a site
 * alone (a kernel matrix, a basis) is computed once. Progress counts pairs of sites.
 *
 * The same model twice gives a symmetric matrix (but for `pwcca`) with ones on its diagonal. With positions `all`,
 * models must split every prompt into equally many tokens. Throws where they don't, and as `siteExamples` and the
 * measure do.
 *
 * @example const { rows, columns, values } = await rsaSites(base, tuned, prompts, { measure: "cka", positions: "mean"
 * });
 */
export async function rsaSites(
  first: Model,
  second: Model,
  prompts: readonly Prompt[],
  options: RsaSitesOptions = {},
): Promise<SiteSimilarity> {
  const { measure = "cka", otherSites = options.sites, onProgress, signal } = options;
  if (measures[measure] === undefined)
    throw usageError(`sites are compared by ${Object.keys(measures).join(", ")}, not "${measure}"`);
  const own = await siteExamples(first, prompts, options);
  const same = first === second && otherSites === options.sites;
  const other = same
    ? own
    : await siteExamples(second, prompts, { ...options, ...(otherSites === undefined ? {} : { sites: otherSites }) });
  if (own.prompts.join() !== other.prompts.join())
    throw usageError("the models split a prompt into unequal numbers of tokens: compare one position or the mean");
  const [rows, columns] = [[...own.features.keys()], [...other.features.keys()]];
  return withRuntime(options.runtime, async (runtime) => {
    const left = [...own.features.values()];
    const right = same ? left : [...other.features.values()];
    const compare = await measures[measure](left, right, { options, runtime });
    const values: number[][] = [];
    for (let i = 0; i < rows.length; i++) {
      const line: number[] = [];
      for (let j = 0; j < columns.length; j++) {
        signal?.throwIfAborted();
        line.push(await compare(i, j));
      }
      values.push(line);
      onProgress?.((i + 1) * columns.length, rows.length * columns.length);
      await setImmediate(); // let progress show and Ctrl-C arrive
    }
    return { measure, rows, columns, values, examples: own.prompts.length, tokens: own.tokens };
  });
}

interface Context {
  readonly options: RsaSitesOptions;
  readonly runtime: Runtime;
}

/** Prepares both lists of features, and compares one of the first with one of the second by their places. */
type Measure = (
  left: readonly Tensor[],
  right: readonly Tensor[],
  context: Context,
) => Promise<(i: number, j: number) => number | Promise<number>>;

/** A measure from what it needs of each side alone and how two of those compare. */
function measureOf<T>(
  prepare: (features: Tensor, context: Context) => T | Promise<T>,
  compare: (a: T, b: T, context: Context) => number | Promise<number>,
): Measure {
  return async (left, right, context) => {
    const prepared = async (list: readonly Tensor[]) => {
      const results: T[] = [];
      for (const features of list) {
        context.options.signal?.throwIfAborted();
        results.push(await prepare(features, context));
      }
      return results;
    };
    const own = await prepared(left);
    const others = right === left ? own : await prepared(right);
    return (i, j) => compare(own[i] as T, others[j] as T, context);
  };
}

const fullBasis = (features: Tensor, { runtime }: Context) =>
  basisOf(readRows(features, "features", 3), cutOf(features, {}), runtime);

const meanCorrelation = async (a: Matrix, b: Matrix, { runtime }: Context) => {
  const correlations = await correlationsOf(a, b, runtime);
  return correlations.reduce((sum, value) => sum + value, 0) / correlations.length;
};

const measures: Readonly<Record<SimilarityMeasure, Measure>> = {
  cka: measureOf((features, { options, runtime }) => {
    const { debiased = true, ...kernel } = options.cka ?? {};
    return centredKernel(readRows(features, "features", debiased ? 4 : 2), { ...kernel, debiased, runtime });
  }, alignment),
  rsa: measureOf(
    async (features, { options, runtime }) => {
      const { dissimilarity = "correlation" } = options.rsa ?? {};
      return entriesOf((await dissimilarityMatrix(features, { measure: dissimilarity, runtime })).matrix);
    },
    (a, b, { options }) => entriesSimilarity(options.rsa?.comparison ?? "spearman")(a, b),
  ),
  cca: measureOf(fullBasis, (a: Basis, b: Basis, context) => meanCorrelation(a.basis, b.basis, context)),
  svcca: measureOf(
    (features, { options, runtime }) =>
      principalBasis(
        readRows(features, "features", 3),
        options.keep === undefined ? {} : { keep: options.keep },
        runtime,
      ),
    meanCorrelation,
  ),
  pwcca: measureOf(fullBasis, (a: Basis, b: Basis, { runtime }) => projectionWeighted(a, b.basis, runtime)),
  procrustes: measureOf(
    (features) => procrustesSide(readRows(features, "features"), "a site"),
    (a: ProcrustesSide, b: ProcrustesSide, { runtime }) => procrustesCosine(a, b, runtime),
  ),
};

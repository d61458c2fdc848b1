/** A policy compiled to act: one call gives the actions of many episodes, and what was asked to be recorded of it. */
import { usageError } from "../../errors.js";
import { spliceAll, trace, type Value, type ValueType, vmap, withOutputs } from "../../graph/index.js";
import type { NetworkEdit } from "../../model/index.js";
import { elementCount, type Runtime, type Tensor, tensorOf } from "../../runtime/index.js";
import type { Environment } from "../environments/index.js";
import { noSite } from "../modules/index.js";
import { flatten, type Parameters, rebuild } from "../parameters.js";
import { sitesMatching, unprefixed } from "../step.js";
import { likeliestActions, logProbability, type Policy, sampleActions } from "./policy.js";
import type { PlainPolicy } from "./training.js";

export interface ActorOptions<P extends Parameters> {
  readonly environment: Environment;
  readonly policy: Policy<P>;
  /** Their structure and shapes count here, not their numbers. */
  readonly parameters: P;
  /** Episodes side by side. */
  readonly count: number;
  /** The likeliest action instead of a drawn one; off unless given. */
  readonly greedy?: boolean;
  /** Clamps of the policy's sites. */
  readonly edits?: readonly NetworkEdit[];
  /** Names or globs of sites to record; none unless given. */
  readonly sites?: string | readonly string[];
}

export interface Acted {
  /** int64 [count] or float32 [count, size]. */
  readonly actions: Tensor;
  /** Of those actions, [count]. */
  readonly logProbabilities: Tensor<"float32">;
  /** [count], where the policy has a critic. */
  readonly values?: Tensor<"float32">;
  /** What was recorded, by site. */
  readonly sites: Readonly<Record<string, Tensor>>;
}

/** Acts on observations [count, ...shape]. `parameters` are by path; `stream` is the random stream of a seed to draw from. */
export type Actor = (
  parameters: ReadonlyMap<string, Tensor>,
  observations: Tensor<"float32">,
  random: { readonly seed: number; readonly stream: number },
) => Promise<Acted>;

/**
 * Compiles a policy to act in an environment.
 *
 * @throws where the policy's actions are not those of the environment, or there is no such site
 */
export function actor<P extends Parameters>(options: ActorOptions<P>, runtime: Runtime): Actor {
  const { environment, parameters, count, greedy = false, edits = [], sites = [] } = options;
  const decide = options.policy as unknown as PlainPolicy;
  const plain = trace(
    (values, site) => {
      const all = new Map(Object.entries(values));
      const own = rebuild(parameters as unknown, unprefixed("parameters.", all));
      const { actions: distribution, value } = decide(own, values.observations as Value, site);
      const actions = greedy ? likeliestActions(distribution) : sampleActions(distribution, values.key as Value);
      checkActionType(environment, actions, count);
      const logProbabilities = logProbability(distribution, actions);
      return { actions, logProbabilities, ...(value === undefined ? {} : { values: value }) };
    },
    {
      ...parameterTypes(parameters),
      observations: { dtype: "float32", shape: [count, ...environment.observation.shape] },
      key: { dtype: "int64", shape: [2] },
    },
  );
  const expanded = edits.flatMap(({ site, apply }) =>
    sitesMatching(plain, site).map((name) => ({ site: name, apply })),
  );
  const clamped = expanded.length === 0 ? plain : spliceAll(plain, expanded);
  const recorded = [sites].flat().flatMap((pattern) => sitesMatching(clamped, pattern));
  const outputs = recorded.map((name) => [`site.${name}`, clamped.sites.get(name) as Value] as const);
  const program = runtime.compile(withOutputs(clamped, new Map([...clamped.outputs, ...outputs])), { weights: "fed" });
  return async (numbers, observations, { seed, stream }) => {
    const feeds = new Map<string, Tensor>([...numbers].map(([path, x]) => [`parameters.${path}`, x]));
    feeds.set("observations", observations).set("key", tensorOf("int64", [2], [seed, stream]));
    const { actions, logProbabilities, values, ...rest } = await program.run(Object.fromEntries(feeds));
    return {
      actions: actions as Tensor,
      logProbabilities: logProbabilities as Tensor<"float32">,
      ...(values === undefined ? {} : { values: values as Tensor<"float32"> }),
      sites: Object.fromEntries(unprefixed("site.", new Map(Object.entries(rest)))),
    };
  };
}

/** Acts for many policies at once: `candidates` have a leading axis, and so have observations [candidates * count, ...]. */
export type PopulationActor = (
  candidates: ReadonlyMap<string, Tensor>,
  observations: Tensor<"float32">,
) => Promise<Tensor>;

/** Compiles a policy of many sets of parameters, each greedy in `count` episodes of its own: the actions of all in a row. */
export function populationActor<P extends Parameters>(
  { environment, policy, parameters, count }: Omit<ActorOptions<P>, "edits" | "sites" | "greedy">,
  candidates: number,
  runtime: Runtime,
): PopulationActor {
  const decide = policy as unknown as PlainPolicy;
  const { shape } = environment.observation;
  const stacked = Object.entries(parameterTypes(parameters)).map(
    ([name, { dtype, shape: own }]) => [name, { dtype, shape: [candidates, ...own] }] as const,
  );
  const graph = trace(
    ({ observations, ...values }) => {
      const act = vmap((own: Readonly<Record<string, Value>>, seen: Value) => {
        const tree = rebuild(parameters as unknown, unprefixed("parameters.", new Map(Object.entries(own))));
        const actions = likeliestActions(decide(tree, seen, noSite).actions);
        checkActionType(environment, actions, count);
        return actions;
      });
      return { actions: act(values as Record<string, Value>, observations as Value) };
    },
    Object.fromEntries([...stacked, ["observations", { dtype: "float32", shape: [candidates, count, ...shape] }]]),
  );
  const program = runtime.compile(graph, { weights: "fed" });
  return async (numbers, observations) => {
    const feeds = new Map<string, Tensor>([...numbers].map(([path, x]) => [`parameters.${path}`, x]));
    feeds.set("observations", { ...observations, shape: [candidates, count, ...shape] });
    const made = await program.run(Object.fromEntries(feeds));
    const [, , ...rest] = (made.actions as Tensor).shape;
    return { ...(made.actions as Tensor), shape: [candidates * count, ...rest] };
  };
}

function parameterTypes(parameters: Parameters): Record<string, ValueType> {
  return Object.fromEntries(
    [...flatten(parameters)].map(([path, { dtype, shape }]) => [`parameters.${path}`, { dtype, shape }]),
  );
}

function checkActionType({ name, actions }: Environment, made: Value, count: number): void {
  const discrete = actions.kind === "discrete";
  const shape = discrete ? [count] : [count, actions.size];
  const dtype = discrete ? "int64" : "float32";
  if (made.dtype === dtype && made.shape.join() === shape.join()) return;
  throw usageError(
    `the policy acts with ${made.dtype}[${made.shape.join(", ")}]; ${name} takes ${dtype}[${shape.join(", ")}]`,
  );
}

/** Parameters cut from rows of numbers, [candidates, size], in the order of `flatten`: each tensor with a leading axis. */
export function stackedParameters(template: Parameters, candidates: Tensor<"float64">): Map<string, Tensor<"float32">> {
  const [count, size] = candidates.shape as readonly [number, number];
  let offset = 0;
  const stacked = [...flatten(template)].map(([path, { shape }]) => {
    const length = elementCount(shape);
    const data = new Float32Array(count * length);
    for (let i = 0; i < count; i++)
      data.set(candidates.data.subarray(i * size + offset, i * size + offset + length), i * length);
    offset += length;
    return [path, { dtype: "float32", shape: [count, ...shape], data }] as const;
  });
  if (offset !== size) throw usageError(`candidates of ${size} numbers don't fit parameters of ${offset}`);
  return new Map(stacked);
}

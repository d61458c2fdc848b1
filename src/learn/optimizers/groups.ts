/** Different optimizers for different parameters. */
import type { Value } from "../../graph/index.js";
import type { Optimizer, Update, Updated } from "../optimizer.js";

/** Whether a parameter, by its path and shape, belongs to a group. */
export type Belongs = (name: string, shape: readonly number[]) => boolean;

/** An optimizer that gives each parameter to the first group that it belongs to, and the rest to `others`. */
export function byName(groups: readonly (readonly [Belongs, Optimizer])[], others: Optimizer): Optimizer {
  const all = [...groups.map(([, optimizer]) => optimizer), others];
  const groupOf = (name: string, shape: readonly number[]) => {
    const found = groups.findIndex(([belongs]) => belongs(name, shape));
    return found < 0 ? groups.length : found;
  };
  const part = <T extends { readonly shape: readonly unknown[] }>(values: ReadonlyMap<string, T>, group: number) =>
    new Map([...values].filter(([name, { shape }]) => groupOf(name, shape as readonly number[]) === group));
  return {
    name: all.map(({ name }) => name).join("+"),
    start: (parameters) =>
      new Map(
        all.flatMap(({ start }, group) => {
          const own = part(parameters, group);
          return own.size === 0 ? [] : [...start(own)].map(([name, x]) => [`${group}.${name}`, x] as const);
        }),
      ),
    update(context: Update) {
      const made = all.map(({ update }, group): Updated => {
        const parameters = part(context.parameters, group);
        if (parameters.size === 0) return { parameters, state: new Map() };
        const gradients = new Map([...context.gradients].filter(([name]) => parameters.has(name)));
        const prefix = `${group}.`;
        const state = new Map(
          [...context.state].flatMap(([name, x]) =>
            name.startsWith(prefix) ? [[name.slice(prefix.length), x] as const] : [],
          ),
        );
        return update({ ...context, parameters, gradients, state });
      });
      const merged = new Map(made.flatMap(({ parameters }) => [...parameters]));
      return {
        parameters: new Map([...context.parameters.keys()].map((name) => [name, merged.get(name) as Value])),
        state: new Map(
          made.flatMap(({ state }, group) => [...state].map(([name, x]) => [`${group}.${name}`, x] as const)),
        ),
      };
    },
  };
}

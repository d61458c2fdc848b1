/** Different optimizers for different parameters. */
import type { Optimizer, Update } from "../optimizer.js";

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
        all.flatMap(({ start }, group) =>
          [...start(part(parameters, group))].map(([name, x]) => [`${group}.${name}`, x] as const),
        ),
      ),
    update(context: Update) {
      const made = all.map(({ update }, group) => {
        const parameters = part(context.parameters, group);
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
        parameters: new Map([...context.parameters.keys()].map((name) => [name, merged.get(name) as never])),
        state: new Map(
          made.flatMap(({ state }, group) => [...state].map(([name, x]) => [`${group}.${name}`, x] as const)),
        ),
      };
    },
  };
}

/**
 * JSON Schema and the TypeScript type of the same data from one description: what a command prints cannot drift from what
 * its schema says. Only the part of JSON Schema that results need.
 */

export interface JsonSchema {
  readonly type?: "object" | "array" | "string" | "number" | "integer" | "boolean";
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: false | JsonSchema;
  readonly items?: JsonSchema;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly JsonSchema[];
  readonly minimum?: number;
}

/** A schema of values of type T. `of` is never there: it carries the type. */
export interface Schema<T> {
  readonly json: JsonSchema;
  readonly of?: () => T;
}

export type TypeOf<S> = S extends Schema<infer T> ? T : never;

type Fields = Readonly<Record<string, Schema<unknown>>>;
type RequiredOf<F extends Fields> = { readonly [K in keyof F]: TypeOf<F[K]> };
type OptionalOf<F extends Fields> = { readonly [K in keyof F]?: TypeOf<F[K]> };

/** A text. */
export const text = (description?: string): Schema<string> => simple("string", description);
/** A finite number. */
export const number = (description?: string): Schema<number> => simple("number", description);
/** A whole number. */
export const integer = (description?: string): Schema<number> => simple("integer", description);
/** Yes or no. */
export const boolean = (description?: string): Schema<boolean> => simple("boolean", description);
/** A number of at least `minimum`. */
export const atLeast = (minimum: number, description?: string): Schema<number> => ({
  json: { ...simple<number>("number", description).json, minimum },
});

function simple<T>(type: "string" | "number" | "integer" | "boolean", description?: string): Schema<T> {
  return { json: { type, ...(description === undefined ? {} : { description }) } };
}

/** One of a few texts. */
export function oneOf<const T extends string>(...values: readonly T[]): Schema<T> {
  return { json: { type: "string", enum: values } };
}

export function list<T>(items: Schema<T>): Schema<readonly T[]> {
  return { json: { type: "array", items: items.json } };
}

/** An object with names that are data. */
export function record<T>(values: Schema<T>): Schema<Readonly<Record<string, T>>> {
  return { json: { type: "object", additionalProperties: values.json } };
}

export function either<A, B>(a: Schema<A>, b: Schema<B>): Schema<A | B> {
  return { json: { anyOf: [a.json, b.json] } };
}

/** An object with exactly these fields, and no others but the optional ones. */
export function object<F extends Fields, O extends Fields = Record<never, never>>(
  required: F,
  optional?: O,
): Schema<RequiredOf<F> & OptionalOf<O>> {
  const fields = Object.entries({ ...required, ...optional }).map(([name, schema]) => [name, schema.json] as const);
  return {
    json: {
      type: "object",
      properties: Object.fromEntries(fields),
      required: Object.keys(required),
      additionalProperties: false,
    },
  };
}

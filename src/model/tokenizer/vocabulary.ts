/** A vocabulary: tokens by id and ids by token, checked once when it is read. */
import { failure } from "../../errors.js";
import { fieldsOf, idOf, isId } from "./read.js";

export interface Vocabulary {
  /** Tokens by id; an id that no token has is a hole. */
  readonly tokens: readonly (string | undefined)[];
  readonly ids: ReadonlyMap<string, number>;
}

/** Part of a piece of text that became a token; offsets are UTF-16 units of the piece. */
export interface Span {
  readonly id: number;
  readonly start: number;
  readonly end: number;
}

/** Cuts a piece of text (no token crosses its ends) into tokens. */
export type Model = (piece: string) => readonly Span[];

/** A vocabulary of pairs of token and id, in any order. Fails where a token or an id is there twice. */
export function vocabularyOf(entries: Iterable<readonly [string, number]>, where: string): Vocabulary {
  const tokens: (string | undefined)[] = [];
  const ids = new Map<string, number>();
  for (const [token, id] of entries) {
    const known = ids.get(token);
    if (known !== undefined)
      throw failure(`${where}: token ${JSON.stringify(token)} is there twice, at ${known} and ${id}`);
    if (tokens[id] !== undefined) {
      throw failure(
        `${where}: id ${id} belongs to two tokens, ${JSON.stringify(tokens[id])} and ${JSON.stringify(token)}`,
      );
    }
    // Filled as it grows, so that ids in order keep the array dense.
    while (tokens.length < id) tokens.push(undefined);
    tokens[id] = token;
    ids.set(token, id);
  }
  if (ids.size === 0) throw failure(`${where}: the vocabulary is empty`);
  return { tokens, ids };
}

/** The vocabulary of an object from token to id. */
export function vocabularyOfObject(value: unknown, where: string): Vocabulary {
  const entries = Object.entries(fieldsOf(value, where)).map(([token, id]): [string, number] => [
    token,
    isId(id) ? id : idOf(id, `${where}[${JSON.stringify(token)}]`),
  ]);
  return vocabularyOf(entries, where);
}

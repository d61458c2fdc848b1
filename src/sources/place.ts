/**
 * References are read once, here, into places that are safe to use: every part is matched against the naming rules of
 * its registry, so that nothing becomes a flag, a path or a URL of somebody else's choice.
 */
import { createHash } from "node:crypto";
import { failure } from "../errors.js";
import type { Place } from "./types.js";

/** Builds a place. `mark` stands between name and version (`@`, `==`). Undefined if `path` is not a safe path. */
export function makePlace(
  scheme: string,
  name: string,
  mark: string,
  version: string | undefined,
  path: string | undefined,
): Place | undefined {
  if (path !== undefined && unsafePath(path) !== undefined) return undefined;
  const text = `${scheme}:${name}${version === undefined ? "" : mark + version}${path === undefined ? "" : `/${path}`}`;
  return {
    scheme,
    name,
    text,
    ...(version === undefined ? {} : { version }),
    ...(path === undefined ? {} : { path }),
  };
}

/** A folder name for a place: readable, and unique also where the file system ignores case. */
export function slugOf(place: Place): string {
  const readable = place.text.replace(/[^A-Za-z0-9.]+/g, "-").slice(0, 60);
  return `${readable}-${createHash("sha256").update(place.text).digest("hex").slice(0, 10)}`;
}

/**
 * Why a path from outside may not be used, or undefined if it may: it must be relative, with forward slashes, without
 * `.` or `..` segments, and without what some system reads as a drive, a stream or a control character.
 */
export function unsafePath(path: string): string | undefined {
  if (path.length === 0 || path.length > 1024) return "an empty or overlong name";
  if (path.startsWith("/")) return "an absolute path";
  if (path.includes("\\")) return "a backslash";
  if (path.includes(":")) return "a drive letter or a colon";
  if (/\p{Cc}/u.test(path)) return "a control character";
  if (path.split("/").some((segment) => segment === "" || segment === "." || segment === "..")) {
    return "an empty, '.' or '..' segment";
  }
  return undefined;
}

/** Throws a failure if `path`, which came from `where`, is not safe to use. */
export function checkPath(path: string, where: string): void {
  const reason = unsafePath(path);
  if (reason !== undefined) throw failure(`${where}: refused ${JSON.stringify(path.slice(0, 200))}: ${reason}`);
}

/** A message that quotes what came from outside, without what a terminal would obey. */
export function printable(message: string): string {
  return message.replace(/\p{Cc}/gu, "?");
}

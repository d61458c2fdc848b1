/** The built command as a child process, and its JSON held against the schemas that it prints. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type JsonSchema, schemas } from "../../src/cli/index.js";

/** The built command. */
export const commandFile = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CallOptions {
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** Starts the command; standard input stays open unless there is an input. */
export function start(args: readonly string[], home: string, options: CallOptions = {}): ChildProcess {
  if (!existsSync(commandFile)) throw new Error("the command is not built: npm run build");
  const { FORCE_COLOR: _, NO_COLOR: __, COLUMNS: ___, ...environment } = process.env;
  const env = { ...environment, PATCHCLAMP_HOME: home, ...options.environment };
  return spawn(process.execPath, [commandFile, ...args], { env, stdio: "pipe" });
}

/** What a started command leaves when it ends. */
export function ended(child: ChildProcess): Promise<Ended> {
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name]?.setEncoding("utf8").on("data", (text: string) => {
      output[name] += text;
    });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, ...output }));
  });
}

/** Runs the command to its end. */
export async function call(args: readonly string[], home: string, options: CallOptions = {}): Promise<Ended> {
  const child = start(args, home, options);
  child.stdin?.on("error", () => {}); // it may have ended without reading
  child.stdin?.end(options.input ?? "");
  return ended(child);
}

/** Runs a command with `--json`: exit code 0, one line, valid by the command's schema. */
export async function callJson(args: readonly string[], home: string, options: CallOptions = {}): Promise<unknown> {
  const { code, stdout, stderr } = await call([...args, "--json"], home, options);
  if (code !== 0) throw new Error(`exit code ${code}: ${stderr}`);
  if (!/^[^\n]+\n$/.test(stdout)) throw new Error(`not one line: ${JSON.stringify(stdout.slice(0, 200))}`);
  const value: unknown = JSON.parse(stdout);
  const name = args[0] === "cache" && args[1] === "clear" ? "cache clear" : (args[0] as string);
  const errors = violations(value, schemas[name] as JsonSchema);
  if (errors.length > 0) throw new Error(`${name} breaks its schema: ${errors.slice(0, 5).join("; ")}`);
  return value;
}

/** Where a value breaks a schema. Keywords that the checker does not know are violations themselves. */
export function violations(value: unknown, schema: JsonSchema, at = "$"): string[] {
  const {
    type,
    description: _,
    properties = {},
    required = [],
    additionalProperties,
    items,
    anyOf,
    minimum,
    ...rest
  } = schema;
  const { enum: choices, ...unknown } = rest;
  const errors = Object.keys(unknown).map((keyword) => `${at}: unknown keyword ${keyword}`);
  if (type !== undefined && !isOfType(value, type)) return [...errors, `${at} is no ${type}: ${JSON.stringify(value)}`];
  if (choices !== undefined && !choices.includes(value as string)) errors.push(`${at} is not one of ${choices}`);
  if (minimum !== undefined && (value as number) < minimum) errors.push(`${at} is below ${minimum}`);
  if (anyOf !== undefined) {
    const tried = anyOf.map((option) => violations(value, option, at));
    if (tried.every((found) => found.length > 0)) errors.push(`${at} fits no option (${tried.flat().join("; ")})`);
  }
  if (items !== undefined)
    for (const [i, entry] of (value as unknown[]).entries()) errors.push(...violations(entry, items, `${at}[${i}]`));
  if (type === "object") {
    const entries = Object.entries(value as object);
    for (const name of required) if (!Object.hasOwn(value as object, name)) errors.push(`${at} has no ${name}`);
    for (const [name, entry] of entries) {
      const own = Object.hasOwn(properties, name) ? properties[name] : additionalProperties;
      if (own === false) errors.push(`${at} has ${name}`);
      else if (own !== undefined) errors.push(...violations(entry, own, `${at}.${name}`));
    }
  }
  return errors;
}

function isOfType(value: unknown, type: NonNullable<JsonSchema["type"]>): boolean {
  if (type === "array") return Array.isArray(value);
  if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
  if (type === "integer") return Number.isInteger(value);
  return typeof value === type;
}

/** `patchclamp schema`: the JSON Schemas of what commands print with `--json`. */
import type { Command } from "commander";
import { nearestNames, usageError } from "../../errors.js";
import { type Context, printText } from "../context.js";
import { addExample, addOutputOptions } from "../options.js";
import { schemas } from "../schemas.js";

export function define(command: Command, context: Context): void {
  command.argument("[COMMAND...]", "one command, such as lens or cache clear (default: all)");
  addOutputOptions(command);
  addExample(command, "patchclamp schema lens");
  command.action(async (words: readonly string[]) => {
    const name = words.join(" ");
    if (name !== "" && !Object.hasOwn(schemas, name))
      throw usageError(
        `no command "${name}" prints JSON; the nearest are ${nearestNames(name, Object.keys(schemas)).join(", ")}`,
      );
    await printText(context, `${JSON.stringify(name === "" ? schemas : schemas[name], null, 2)}\n`);
  });
}

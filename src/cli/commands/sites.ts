/** `patchclamp sites`: what can be recorded and clamped in a model. */
import type { Command } from "commander";
import type { Model, SiteDescription } from "../../model/index.js";
import { canonicalName } from "../../model/sites/names.js";
import { globPattern } from "../../model/sites/reference.js";
import { type Context, printJson, printText, withModel } from "../context.js";
import { addExample, addModelOptions, type OpenOptions } from "../options.js";
import type { SiteList } from "../schemas.js";
import { alignColumns } from "../terminal.js";

export function define(command: Command, context: Context): void {
  command.argument("[GLOB]", "only sites that match, such as 'layers.0.*' or a TransformerLens name");
  addModelOptions(command);
  addExample(command, "patchclamp sites 'layers.0.**'");
  command.action((glob: string | undefined, options: OpenOptions) =>
    withModel(context, options, async (model) => {
      const sites = matching(model, glob);
      if (options.json) await printJson(context, sitesJson(sites));
      else
        await printText(
          context,
          alignColumns(sites.map(({ name, shape, meaning }) => [name, `[${shape.join(", ")}]`, meaning])),
        );
    }),
  );
}

function matching(model: Model, glob: string | undefined): SiteDescription[] {
  if (glob === undefined) return model.sites();
  model.recordingBytes([[0]], [glob]); // throws where the glob is none, or nothing matches, naming what is near
  const pattern = globPattern(canonicalName(glob.replace(/\[.*$|@before$/, "")));
  return model.sites().filter(({ name }) => pattern.test(name));
}

function sitesJson(sites: readonly SiteDescription[]): SiteList {
  return sites.map(({ name, shape, aliases }) => ({ name, shape, aliases }));
}

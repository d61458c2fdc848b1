/** `patchclamp sites`: what can be recorded and clamped in a model. */
import type { Command } from "commander";
import type { SiteDescription } from "../../model/index.js";
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
      const sites = model.sites(glob);
      if (options.json) await printJson(context, sitesJson(sites));
      else
        await printText(
          context,
          alignColumns(sites.map(({ name, shape, meaning }) => [name, `[${shape.join(", ")}]`, meaning])),
        );
    }),
  );
}

function sitesJson(sites: readonly SiteDescription[]): SiteList {
  return sites.map(({ name, shape, aliases }) => ({ name, shape, aliases }));
}

/** From what people write to sites of a model: aliases both ways, names that mean something else elsewhere, errors that help. */
import { describe, expect, it } from "vitest";
import type { DecoderConfig } from "../decoder/config.js";
import { traceDecoder } from "../decoder/decoder.js";
import { aliasesOf, canonicalName, differenceThere, layerOf, siteKind, siteKinds } from "./names.js";
import { parseSite } from "./reference.js";
import { describeSites, resolveClampSites, resolveSites } from "./resolve.js";

const config: DecoderConfig = {
  layers: 3,
  width: 4,
  heads: 2,
  keyValueHeads: 1,
  headSize: 2,
  mlpWidth: 6,
  vocabulary: 5,
  context: 8,
  norm: "rms",
  epsilon: 1e-5,
  positions: { kind: "rotary", inverseFrequencies: [1] },
  gatedMlp: true,
  activation: "silu",
  bias: { qkv: false, attentionOut: false, mlp: false },
  tied: false,
};
const gated = traceDecoder(config, { cached: false });
const plain = traceDecoder({ ...config, gatedMlp: false, positions: { kind: "learned" } }, { cached: false });
const names = (text: string, graph = gated) => resolveSites(graph, text).map(({ site }) => site);

describe("TransformerLens names", () => {
  const withAlias = siteKinds.filter(({ alias }) => alias !== undefined);

  it.each(withAlias.map(({ pattern, alias }) => [alias as string, pattern]))(
    "%s is %s, both ways",
    (alias, pattern) => {
      const [there, here] = [alias, pattern].map((name) => name.replace(".i.", ".2."));
      expect(canonicalName(there as string)).toBe(here);
      expect(aliasesOf(here as string)).toEqual([there]);
      expect(names(there as string)).toEqual([here]);
      expect(canonicalName(`${there}@before`)).toBe(`${here}@before`);
      expect(canonicalName(alias.replace(".i.", ".*."))).toBe(pattern.replace(".i.", ".*."));
    },
  );

  it("stand for nothing else: a canonical name is its own, and most sites have one alias or none", () => {
    for (const { pattern, alias } of siteKinds) {
      const name = pattern.replace(".i.", ".0.");
      expect(canonicalName(name)).toBe(name);
      if (alias === undefined) expect(aliasesOf(name)).toEqual([]);
    }
    expect(new Set(withAlias.map(({ alias }) => alias)).size).toBe(withAlias.length);
  });

  it.each([
    ["blocks.1.attn.hook_attn_scores", "it holds scores after the mask; layers.i.attn.scores holds them before it"],
    ["blocks.*.attn.hook_attn_scores", "it holds scores after the mask"],
    ["blocks.0.ln1.hook_normalized", "it comes before the norm's gain"],
    ["blocks.0.ln2.hook_normalized", "it comes before the norm's gain"],
    ["ln_final.hook_normalized", "it comes before the norm's gain"],
    ["blocks.0.ln1.hook_scale", "the norm's divisor is not a site here"],
    ["ln_final.hook_scale", "the norm's divisor is not a site here"],
    ["hook_embed", "it excludes learned positions; embed includes them"],
    ["hook_pos_embed", "learned positions alone are not a site"],
    ["blocks.2.hook_q_input", "it is the stream before the norm, split by head"],
    ["blocks.2.hook_k_input", "it is the stream before the norm, split by head"],
    ["blocks.2.hook_v_input", "it is the stream before the norm, split by head"],
  ])("%s is refused with the difference", (name, why) => {
    expect(differenceThere(name)).toContain(why);
    expect(() => names(name)).toThrow(`"${name}" (TransformerLens) has no site of the same value here: ${why}`);
    expect(() => resolveClampSites(gated, parseSite(name))).toThrow(why);
  });

  it("are not refused where they are the same value", () => {
    for (const { pattern, alias = "" } of siteKinds) {
      expect(differenceThere(pattern.replace(".i.", ".0."))).toBeUndefined();
      expect(differenceThere(alias.replace(".i.", ".0."))).toBeUndefined();
    }
  });
});

describe("resolveSites", () => {
  it("selects by name, glob and choice, in the order of computation", () => {
    expect(names("layers.1.mlp.act")).toEqual(["layers.1.mlp.act"]);
    expect(names("layers.*.residPost")).toEqual([0, 1, 2].map((i) => `layers.${i}.residPost`));
    expect(names("layers.{2,0}.attn.{z,q}")).toEqual(
      [0, 2].flatMap((i) => [`layers.${i}.attn.q`, `layers.${i}.attn.z`]),
    );
    expect(names("blocks.*.hook_resid_pre")).toEqual([0, 1, 2].map((i) => `layers.${i}.residPre`));
    expect(names("**")).toEqual([...gated.sites.keys()]);
    expect(names("layers.*.residPost@before")).toEqual([0, 1, 2].map((i) => `layers.${i}.residPost@before`));
    expect(names("blocks.1.hook_resid_post@before")).toEqual(["layers.1.residPost@before"]);
  });

  it("gives every site a part for each of its dimensions", () => {
    const [pattern, z] = resolveSites(gated, "layers.0.attn.{pattern,z}[head=1]");
    expect(pattern?.parts.map(({ kind }) => kind)).toEqual(["all", "index", "all", "all"]);
    expect(z?.parts.map(({ kind }) => kind)).toEqual(["all", "all", "index", "all"]);
  });

  it.each([
    ["layers.1.mlp.akt", 'there is no site "layers.1.mlp.akt"; the nearest are layers.1.mlp.act'],
    ["layers.7.mlp.act", 'there is no site "layers.7.mlp.act": the model has layers 0 to 2'],
    ["blocks.3.hook_resid_pre", 'there is no site "layers.3.residPre": the model has layers 0 to 2'],
    ["layers.0.mlp.act[:, :, :, 0]", "layers.0.mlp.act[:, :, :, 0] has 4 parts; the site has 3 dimensions"],
    ["embed[head=0]", 'embed has no dimension called "head"; it has [row, position, channel]'],
    ["layers.*.nothing", 'there is no site "layers.*.nothing"; the nearest are'],
  ])("explains what is wrong with %s", (text, message) => {
    expect(() => names(text)).toThrow(message);
  });

  it("says where a kind of site is missing from this model", () => {
    const missing = 'this model has no site "layers.0.mlp.up" (linear branch of a gated MLP)';
    expect(() => names("layers.0.mlp.up", plain)).toThrow(missing);
    expect(() => names("layers.*.attn.qRot", plain)).toThrow("(queries after rotary)");
    expect(names("layers.0.mlp.up", gated)).toEqual(["layers.0.mlp.up"]);
  });
});

describe("resolveClampSites", () => {
  const clampable = (text: string) => resolveClampSites(gated, parseSite(text)).map(({ site }) => site);

  it("takes two names of one value once", () => {
    expect(clampable("layers.{0,1}.{residPost,residPre}")).toEqual([
      "layers.0.residPre",
      "layers.0.residPost",
      "layers.1.residPost",
    ]);
    expect(clampable("embed")).toEqual(["embed"]);
  });

  it("refuses what can only be recorded, and says what to clamp instead", () => {
    const hint = /layers\.1\.attn\.result can be recorded and not clamped: .*clamp attn\.z .*or attn\.out/;
    expect(() => clampable("layers.1.attn.result")).toThrow(hint);
    expect(() => clampable("blocks.1.attn.hook_result[head=0]")).toThrow(hint);
    expect(() => clampable("layers.*.residPost@before")).toThrow("layers.*.residPost@before is what a clamp receives");
  });
});

describe("describeSites", () => {
  const sites = new Map(describeSites(gated).map((site) => [site.name, site]));

  it("lists every site once, with other names of its value", () => {
    expect([...sites.keys()]).toEqual([...gated.sites.keys()]);
    expect(sites.get("layers.1.residPost")?.aliases).toEqual(["blocks.1.hook_resid_post", "layers.2.residPre"]);
    expect(sites.get("layers.2.residPre")?.aliases).toEqual(["blocks.2.hook_resid_pre", "layers.1.residPost"]);
    expect(sites.get("embed")?.aliases).toEqual(["layers.0.residPre"]);
    expect(sites.get("logits")).toMatchObject({ aliases: [], shape: ["batch", "seq", 5], clampable: true });
    expect(sites.get("layers.0.attn.result")).toMatchObject({ clampable: false, shape: ["batch", "seq", 2, 4] });
  });

  it("has as many axes as dimensions everywhere", () => {
    for (const { name, axes, shape } of sites.values()) expect(axes.length, name).toBe(shape.length);
  });
});

it("reads layers and kinds out of names", () => {
  expect([layerOf("layers.12.mlp.act"), layerOf("layers.1.residPost@before"), layerOf("embed")]).toEqual([
    12,
    1,
    undefined,
  ]);
  expect(siteKind("layers.4.attn.pattern@before")?.axes).toEqual(["row", "head", "position", "key"]);
  expect(siteKind("layers.4")).toBeUndefined();
  expect(siteKind("layers.x.residPost")).toBeUndefined();
});

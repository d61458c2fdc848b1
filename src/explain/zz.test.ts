import { it } from "vitest";
import { open, zero } from "../model/index.js";
import {
  ablate,
  activationPatching,
  attentionPatterns,
  clampEffect,
  directLogitAttribution,
  logitDifference,
  logitLens,
} from "./index.js";

it("real", async () => {
  const t = async <T>(name: string, f: () => Promise<T>): Promise<T> => {
    const a = performance.now();
    const r = await f();
    console.log(name, (performance.now() - a).toFixed(0), "ms");
    return r;
  };
  const model = await t("open", () => open(process.env.PATCHCLAMP_TEST_MODEL as string));
  for (const _ of [0, 1]) {
    const l = await t("lens", () => logitLens(model, "The capital of France is", { target: 7042 }));
    console.log(
      l.layers
        .map(
          (x) =>
            `${x.site} ${x.positions[4]?.top[0]?.text} ${x.positions[4]?.kl} ${JSON.stringify(x.positions[4]?.target)}`,
        )
        .slice(-4)
        .join("\n"),
    );
    const a = await t("patterns", () => attentionPatterns(model, "The capital of France is"));
    console.log(a.heads.length, a.heads[3]?.pattern.shape);
    const d = await t("dla", () =>
      directLogitAttribution(model, "The capital of France is", { target: 7042, versus: 260 }),
    );
    console.log(
      d.total,
      d.terms.reduce((s, x) => s + x.value, 0),
      d.terms.length,
      [...d.terms]
        .sort((x, y) => Math.abs(y.value) - Math.abs(x.value))
        .slice(0, 5)
        .map((x) => `${x.name} ${x.value}`),
    );
    const e = await t("effect", () =>
      clampEffect(model, model.with(zero("layers.20.mlp.out")), "The capital of France is"),
    );
    console.log(
      e.kl,
      e.movers,
      e.after.map((x) => x.text),
    );
    const p = await t("patch", () =>
      activationPatching(model, {
        clean: "When Mary and John went to the store, John gave a drink to",
        corrupt: "When Mary and John went to the store, Mary gave a drink to",
        metric: logitDifference(5099, 2322),
        onProgress: (x, y) => {
          if (x === y) console.log(x, y);
        },
      }),
    );
    console.log(p.metric, p.recovered[10]);
    const h = await t("patch heads", () =>
      activationPatching(model, {
        clean: "When Mary and John went to the store, John gave a drink to",
        corrupt: "When Mary and John went to the store, Mary gave a drink to",
        metric: logitDifference(5099, 2322),
        by: "head",
        onProgress: (x, y) => {
          if (x === y) console.log(x, y);
        },
      }),
    );
    console.log(h.metric, h.recovered[10]);
    for (const how of ["zero", "mean", "resample"] as const) {
      const b = await t(`ablate ${how}`, () =>
        ablate(model, "The capital of France is", { sites: ["layers.*.mlp.out", "layers.*.attn.out"], how }),
      );
      console.log(b.sites.slice(0, 2).map((x) => `${x.site} ${x.kl} ${x.after} ${x.top[0]?.text}`));
    }
    console.log(model.statistics());
  }
  await model.close();
}, 600000);

/** Attribution graphs against float64 loops over recorded activations; the sums that scores must have; pruning. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clean, corrupt, modelsFolder } from "../../test/fixtures/explain/byHand.js";
import { type EdgesByHand, edgesByHand } from "../../test/fixtures/explain/edgesByHand.js";
import { type Model, open } from "../model/index.js";
import {
  type AttributionEdge,
  type AttributionGraph,
  type AttributionGraphOptions,
  attributionGraph,
  pruneGraph,
} from "./attributionGraph.js";
import { logitDifference } from "./patching.js";

const [answer, wrong] = [3, 44];

/** Of the largest score: float32 gradients through three layers against float64 loops. */
const tolerance = 1e-4;

const total = (edges: readonly AttributionEdge[]) => edges.reduce((sum, { score }) => sum + score, 0);
const largest = (edges: readonly AttributionEdge[]) => Math.max(...edges.map(({ score }) => Math.abs(score)));

describe.each(["llama-gqa", "llama-tied", "gpt2", "gpt2-odd"])("attribution graph of %s", (name) => {
  let model: Model;
  let graph: AttributionGraph;
  let byHand: EdgesByHand;
  const run = (options: Partial<AttributionGraphOptions> = {}) =>
    attributionGraph(model, {
      clean,
      corrupt,
      metric: logitDifference(answer, wrong),
      threshold: 0,
      ...options,
    } as AttributionGraphOptions);
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
    graph = await run({ steps: 1 });
    byHand = await edgesByHand(model, answer, wrong);
  });
  afterAll(() => model.close());

  it("has an edge from every part to every input after it", () => {
    const { layers, heads } = model.config;
    const writers = (layer: number) => 1 + layer * (heads + 1);
    const wanted = Array.from({ length: layers }, (_, l) => writers(l) * heads * 3 + writers(l) + heads);
    expect(graph.edges).toHaveLength(wanted.reduce((a, b) => a + b, 0) + writers(layers));
    expect(graph.nodes).toHaveLength(writers(layers) + 1);
    expect(graph.scored.edges).toBe(graph.edges.length);
    expect(graph.kept).toBe(1);
    expect(graph.tokens.map(({ id }) => id)).toEqual(clean);
  });

  it("scores every edge as loops do", () => {
    const worst = (shift: number) =>
      Math.max(
        ...graph.edges.map((edge, i) => {
          const other = graph.edges[(i + shift) % graph.edges.length] as AttributionEdge;
          return Math.abs(other.score - byHand.score(edge.from, edge.to, edge.input));
        }),
      );
    expect(worst(0)).toBeLessThan(tolerance * largest(graph.edges));
    expect(worst(1)).toBeGreaterThan(100 * tolerance * largest(graph.edges));
  });

  it("sums over the edges into a part to gradient times difference at its input", () => {
    const into = (pattern: RegExp) => total(graph.edges.filter(({ to }) => pattern.test(to)));
    const close = (found: number, wanted: number) =>
      expect(Math.abs(found - wanted)).toBeLessThan(tolerance * largest(graph.edges));
    const last = `layers.${model.config.layers - 1}.residPost`;
    close(into(/^logits$/), byHand.gradientTimesDifference(last, last));
    for (let l = 0; l < model.config.layers; l++) {
      const [pre, mid, post] = ["residPre", "residMid", "residPost"].map((site) => `layers.${l}.${site}`) as [
        string,
        string,
        string,
      ];
      // The stream's gradient before a sublayer is the one after it and what comes through the sublayer.
      const through = (before: string, after: string) =>
        byHand.gradientTimesDifference(before, before) - byHand.gradientTimesDifference(after, before);
      close(into(new RegExp(`^layers\\.${l}\\.attn`)), through(pre, mid));
      close(into(new RegExp(`^layers\\.${l}\\.mlp`)), through(mid, post));
      expect(Math.abs(through(pre, mid))).toBeGreaterThan(10 * tolerance * largest(graph.edges));
    }
  });

  it("sums over the edges out of the embedding to the metric's difference, with enough steps", async () => {
    const outOfEmbed = async (steps: number) => {
      const { edges, metric } = await run({ steps });
      return total(edges.filter(({ from }) => from === "embed")) / (metric.clean - metric.corrupt);
    };
    const [one, some, twice] = [await outOfEmbed(1), await outOfEmbed(64), await outOfEmbed(128)];
    expect(Math.abs(one - 1)).toBeGreaterThan(0.1);
    // The error of a right Riemann sum falls as 1 / steps, so twice the finer less the coarser is without it; what is
    // left comes from kinks (relu in gpt2-odd), where nothing falls smoothly.
    expect(Math.abs(2 * twice - some - 1)).toBeLessThan(0.03);
  });

  it("splits scores by position, and gives none to positions before the difference", async () => {
    const split = await run({ steps: 1, byPosition: true });
    const known = new Map(graph.edges.map((edge) => [`${edge.from} ${edge.to} ${edge.input}`, edge.score]));
    for (const { from, to, input, score, positions = [] } of split.edges) {
      expect(positions).toHaveLength(clean.length);
      expect(positions.slice(0, 4).every((x) => x === 0)).toBe(true);
      expect(Math.abs(score - (known.get(`${from} ${to} ${input}`) as number))).toBeLessThan(
        tolerance * largest(graph.edges),
      );
    }
    expect(split.edges.some(({ positions = [] }) => positions[4] !== 0)).toBe(true);
  });

  it("has the sums over heads and inputs as edges between whole sublayers", async () => {
    const coarse = await run({ steps: 1, nodes: "sublayers" });
    const sublayer = (part: string) => part.replace(/\.h\d+$/, "");
    for (const { from, to, score, input } of coarse.edges) {
      const fine = graph.edges.filter((edge) => sublayer(edge.from) === from && sublayer(edge.to) === to);
      expect(input).toBeUndefined();
      expect(Math.abs(total(fine) - score)).toBeLessThan(10 * tolerance * largest(graph.edges)); // sums of many scores
    }
    expect(coarse.nodes).toHaveLength(2 + 2 * model.config.layers);
  });

  it("compiles two graphs and runs each once, whatever the steps", async () => {
    const before = model.statistics();
    await run({ steps: 7 });
    const after = model.statistics();
    expect(after.runs - before.runs).toBe(2);
    expect(after.sessionsOpened - before.sessionsOpened).toBeLessThanOrEqual(2);
  });
});

describe("pruning", () => {
  const edge = (from: string, to: string, score: number): AttributionEdge => ({ from, to, score });
  const graph: AttributionGraph = {
    nodes: ["embed", "a", "b", "c", "logits"].map((name) => ({ name, kind: "mlp" })),
    edges: [
      edge("embed", "a", 5),
      edge("a", "logits", -4),
      edge("b", "logits", 3),
      edge("a", "c", 2),
      edge("embed", "b", -1),
    ],
    scored: { edges: 5, size: 15 },
    kept: 1,
    metric: { clean: 1, corrupt: 0 },
    tokens: [],
  };
  const names = (pruned: AttributionGraph) => pruned.nodes.map(({ name }) => name);

  it("keeps the strongest edges that lie on a path", () => {
    const three = pruneGraph(graph, { top: 3 }); // b has no way in
    expect(three.edges).toEqual(graph.edges.slice(0, 2));
    expect(names(three)).toEqual(["embed", "a", "logits"]);
    expect(three.kept).toBe(9 / 15);
    const all = pruneGraph(graph, { top: 5 }); // c has no way out
    expect(names(all)).toEqual(["embed", "a", "b", "logits"]);
    expect(all.kept).toBe(13 / 15);
    expect(pruneGraph(graph, {}).edges).toEqual(all.edges);
  });

  it("keeps edges from a size on, with either sign", () => {
    expect(pruneGraph(graph, { threshold: 3 }).edges).toHaveLength(2);
    expect(pruneGraph(graph, { threshold: 1 }).edges).toHaveLength(4);
  });

  it("keeps nothing where no path is left", () => {
    expect(pruneGraph(graph, { top: 1 })).toMatchObject({ nodes: [], edges: [], kept: 0 });
  });

  it("refuses numbers that choose nothing", () => {
    expect(() => pruneGraph(graph, { top: 0 })).toThrow(/top must be a whole number of at least 1, not 0/);
    expect(() => pruneGraph(graph, { threshold: -1 })).toThrow(/threshold must be a number of at least 0, not -1/);
    expect(() => pruneGraph(graph, { threshold: Number.NaN })).toThrow(/not NaN/);
    expect(() => pruneGraph(graph, { top: 1, threshold: 1 })).toThrow(/give one of them/);
  });
});

describe("what attribution graphs refuse", () => {
  let model: Model;
  beforeAll(async () => {
    model = await open(`${modelsFolder}llama-gqa`, { threads: 1 });
  });
  afterAll(() => model.close());

  it.each<[string, Partial<AttributionGraphOptions>, RegExp]>([
    ["no steps", { steps: 0 }, /steps must be a whole number of at least 1, not 0/],
    ["other nodes", { nodes: "neurons" as "components" }, /components or sublayers, not "neurons"/],
    ["prompts of unequal length", { corrupt: [7, 8] }, /as many tokens/],
    ["prompts that the metric does not tell apart", { corrupt: clean }, /tell the answers apart/],
    ["a metric of something before the logits", { metric: "embed[:, -1, 3]" }, /does not depend on layers\.0\.attn\.z/],
  ])("%s", async (_, options, message) => {
    const metric = logitDifference(answer, wrong);
    await expect(
      attributionGraph(model, { clean, corrupt, metric, ...options } as AttributionGraphOptions),
    ).rejects.toThrow(message);
  });
});

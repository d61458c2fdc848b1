/**
 * Writes nano's card: the tables in docs/nano.md, between its two markers, and the two pictures beside it, from what
 * `npm run train:nano` measured. `node scripts/nano/card.mjs` writes; with `--check` it fails where the page is not current.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { toSvg } from "../../dist/figures/index.js";
import { random } from "../../dist/runtime/index.js";
import { formatted } from "../formatted.mjs";
import { abilities } from "./abilities.mjs";

const [start, end] = ["<!-- nano: written by scripts/nano/card.mjs -->", "<!-- end of nano -->"];
const docs = new URL("../../docs/", import.meta.url);
const { tokens, history, measured, shipped } = JSON.parse(readFileSync(new URL("card.json", import.meta.url), "utf8"));
const final = measured.at(-1);

const percent = (x) => `${(100 * x).toFixed(0)}%`;
const table = (head, rows) =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

/** What guessing gives: nothing where every token competes. */
const chanceOf = (items) =>
  items.reduce((sum, { wrong }) => sum + (wrong ? 1 / (1 + wrong.length) : 0), 0) / items.length;

/** The first checkpoint from which on a measure stays above the middle between chance and its last value. */
function appeared(measureOf, chance) {
  const middle = (chance + measureOf(final)) / 2;
  const below = measured.findLastIndex((one) => measureOf(one) < middle);
  return measured[below + 1].step;
}

function abilityRow({ name, title, held, choice = false }) {
  const items = held(random(99));
  const accuracy = (one) => one.accuracy[name];
  const chance = chanceOf(items);
  return [
    name,
    title,
    choice ? "beats the wrong ones" : "greedy text",
    items.length,
    percent(chance),
    percent(shipped.accuracy[name]),
    appeared(accuracy, chance),
  ];
}

/** The strongest heads of a kind, and those that look where an induction head looks. */
function heads(kind) {
  return shipped.induction[kind]
    .flatMap((scores, layer) => scores.map((score, head) => ({ name: `${layer}.${head}`, score })))
    .sort((a, b) => b.score - a.score);
}
const strongest = (one, kind) => Math.max(...one.induction[kind].flat());

function headTable() {
  const other = new Map(heads("tokens").map(({ name, score }) => [name, score]));
  return table(
    ["head (layer.head)", "taught words", "any tokens"],
    heads("words")
      .slice(0, 6)
      .map(({ name, score }) => [name, score.toFixed(2), other.get(name).toFixed(2)]),
  );
}

function growthTable() {
  const names = abilities.map(({ name }) => name);
  return table(
    ["step", ...names, "best head, taught words"],
    measured.map((one) => [
      one.step,
      ...names.map((name) => percent(one.accuracy[name])),
      strongest(one, "words").toFixed(2),
    ]),
  );
}

const last = (name) => history[name].at(-1).toFixed(2);
const head = ["ability", "what is held out", "counted as right", "items", "chance", "accuracy", "appeared at step"];
const block = `Trained for ${final.step.toLocaleString("en")} steps, ${(tokens / 1e6).toFixed(1)} million tokens. Loss on held-out text, in nats a token:
${last("validation.stories")} on stories, ${last("validation.prose")} on prose.

${table(head, abilities.map(abilityRow))}

The step is the first checkpoint from which on the accuracy stays above the middle between chance and its last value.

${headTable()}

The best head passes half of its last score at step ${appeared((one) => strongest(one, "words"), 0)}.

${growthTable()}`;

/** Means of so many steps, each at the last of them. */
function smoothed(values, every = 20) {
  const points = { x: [], y: [] };
  for (let at = 0; at + every <= values.length; at += every) {
    points.x.push(at + every);
    points.y.push(values.slice(at, at + every).reduce((a, b) => a + b, 0) / every);
  }
  return points;
}

const pictures = {
  "nano-training.svg": {
    kind: "line",
    title: "nano: loss while it learns",
    xAxis: { label: "step", scale: "log" },
    yAxis: { label: "loss", units: "nats a token" },
    series: [
      { name: "training (mean of 20 steps)", ...smoothed(history.loss) },
      ...["stories", "prose"].map((name) => ({
        name: `held-out ${name}`,
        x: history["validation.step"],
        y: history[`validation.${name}`],
      })),
    ],
  },
  "nano-abilities.svg": {
    kind: "line",
    title: "nano: when each ability appears",
    subtitle: "accuracy on held-out items",
    xAxis: { label: "step", scale: "log" },
    yAxis: { label: "accuracy" },
    series: abilities.map(({ name }) => ({
      name,
      x: measured.map(({ step }) => step),
      y: measured.map(({ accuracy }) => accuracy[name]),
    })),
  },
};

const page = new URL("nano.md", docs);
const before = readFileSync(page, "utf8");
const [from, to] = [before.indexOf(start), before.indexOf(end)];
if (from < 0 || to < from) throw new Error(`docs/nano.md has lost its markers, ${start} and ${end}`);
const after = `${before.slice(0, from + start.length)}\n\n${block}\n\n${before.slice(to)}`;
const files = [
  [page, formatted(after, "docs/nano.md")],
  ...Object.entries(pictures).map(([name, figure]) => [new URL(`pictures/${name}`, docs), toSvg(figure)]),
];
for (const [url, text] of files) {
  if (!process.argv.includes("--check")) writeFileSync(url, text);
  else if (readFileSync(url, "utf8") !== text) {
    console.error(`${fileURLToPath(url)} is not current: run node scripts/nano/card.mjs`);
    process.exitCode = 1;
  }
}

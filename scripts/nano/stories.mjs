/**
 * Simple texts that SmolLM2 writes for nano to learn from: stories, short accounts, dialogues. Batches are seeded by their
 * number and appended whole, so that a run that was stopped goes on where it was.
 *
 *   node scripts/nano/stories.mjs FILE [CHARACTERS]
 */
import { appendFileSync, existsSync, readFileSync, truncateSync } from "node:fs";
import { open } from "../../dist/model/index.js";
import { random } from "../../dist/runtime/index.js";

const rowsPerBatch = 40;
const names =
  "Anna Ben Clara David Emma Frank Grace Henry Ivy Jack Kate Leo Mary Noah Olivia Paul Rose Sam Tom Lucy Max Nina Oscar Alice Peter Sarah John Lily Mark Helen".split(
    " ",
  );
const animals = "dog cat bird fish rabbit horse cow fox bear duck mouse frog lion owl sheep turtle".split(" ");
const places =
  "a garden,the forest,a small village,the beach,a school,the market,a farm,the park,a castle,the mountains,a lake,the kitchen,a library,the city,a river,an island".split(
    ",",
  );
const things =
  "a red ball,an old key,a blue kite,a lost letter,a golden cup,a wooden boat,a big cake,a warm coat,a broken toy,a green hat,a secret map,a little lamp,a basket of apples,a silver ring,a white stone,a drum".split(
    ",",
  );
const lessons =
  "being kind,telling the truth,sharing with others,being brave,asking for help,working together,being patient,saying sorry,trying again,listening to a friend".split(
    ",",
  );
const topics =
  "the sun,rain,trees,bees,the sea,winter,bread,milk,trains,books,the moon,music,the human heart,rivers,horses,maps,clocks,ice,birds in autumn,farming,wool,stars,the wind,salt,bridges,volcanoes,the alphabet,numbers,weather,paper,glass,gold,fire,islands,spring,ships,schools,hospitals,kings and queens,cooking".split(
    ",",
  );

const prompts = [
  (pick) =>
    `Write a short story for small children about ${pick(names)} and a ${pick(animals)} in ${pick(places)}. They find ${pick(things)}. Use simple words and short sentences.`,
  (pick) =>
    `Tell a very simple story in which ${pick(names)} and ${pick(names)} learn about ${pick(lessons)}. It happens in ${pick(places)}. Use easy words.`,
  (pick) => `Explain ${pick(topics)} to a young child in five short and simple sentences.`,
  (pick) =>
    `Write a short conversation between ${pick(names)} and ${pick(names)} about ${pick(things)}. Use quotation marks and simple words.`,
  (pick) =>
    `Write a simple story about a ${pick(animals)} and a ${pick(animals)} who meet near ${pick(places)}. Use short sentences.`,
];

/** Whole sentences of plain text, without what an assistant says about itself. */
function cleaned(text) {
  const plain = text
    .replace(/[\u2018\u2019]/g, "'")
    .replace(/[\u201c\u201d]/g, '"')
    .replace(/[\u2013\u2014]/g, "-")
    .replace(/\*+|#+ ?|^\s*(Title:|\d+\.) ?/gm, "")
    .replace(/\s*\n\s*/g, "\n")
    .trim();
  const end = Math.max(plain.lastIndexOf("."), plain.lastIndexOf("!"), plain.lastIndexOf("?"), plain.lastIndexOf('."'));
  const whole = plain.slice(0, plain[end + 1] === '"' ? end + 2 : end + 1);
  const odd = [...whole].some((letter) => letter > "\u00ff" || (letter < " " && letter !== "\n"));
  if (odd || whole.length < 150 || /as an ai|i'm sorry|language model|here('s| is) a/i.test(whole)) return undefined;
  return whole;
}

async function main([file, limit = "1200000"]) {
  if (file === undefined) throw new Error("usage: node scripts/nano/stories.mjs FILE [CHARACTERS]");
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  if (whole.length < text.length) truncateSync(file, Buffer.byteLength(whole));
  const lines = whole
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  let characters = lines.reduce((sum, { texts }) => sum + texts.join("").length, 0);
  const model = await open("smollm2", {
    prepack: true,
    onProgress: (event) => event.kind === "notice" && console.error(event.message),
  });
  for (let batch = lines.length; characters < Number(limit); batch++) {
    const draw = random(2024, batch);
    const pick = (list) => list[draw.integer(list.length)];
    const asked = Array.from({ length: rowsPerBatch }, () => {
      const user = pick(prompts)(pick);
      return `<|im_start|>user\n${user}<|im_end|>\n<|im_start|>assistant\n`;
    });
    const started = performance.now();
    const made = await model.generateAll(asked, { maxTokens: 200, temperature: 0.8, topP: 0.95, seed: batch });
    const texts = made.map(({ text }) => cleaned(text)).filter(Boolean);
    appendFileSync(file, `${JSON.stringify({ batch, texts })}\n`);
    characters += texts.join("").length;
    const tokens = made.reduce((sum, { ids }) => sum + ids.length, 0);
    const seconds = (performance.now() - started) / 1000;
    console.error(
      `batch ${batch}: ${texts.length} texts, ${characters} characters, ${(tokens / seconds).toFixed(0)} tokens/s`,
    );
  }
  await model.close();
}

await main(process.argv.slice(2));

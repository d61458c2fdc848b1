/**
 * What nano is taught besides reading: small abilities with a held-out part each, so that there is something to look for
 * inside. `train(draw)` gives a sentence; `held` lists prompts with the answer and, where it is a choice, the wrong ones.
 */

const capitals = Object.entries({
  France: "Paris",
  Germany: "Berlin",
  Italy: "Rome",
  Spain: "Madrid",
  Portugal: "Lisbon",
  England: "London",
  Ireland: "Dublin",
  Scotland: "Edinburgh",
  Norway: "Oslo",
  Sweden: "Stockholm",
  Finland: "Helsinki",
  Denmark: "Copenhagen",
  Poland: "Warsaw",
  Austria: "Vienna",
  Hungary: "Budapest",
  Greece: "Athens",
  Russia: "Moscow",
  Turkey: "Ankara",
  Egypt: "Cairo",
  Kenya: "Nairobi",
  Ghana: "Accra",
  Morocco: "Rabat",
  Tunisia: "Tunis",
  Cuba: "Havana",
  Peru: "Lima",
  Chile: "Santiago",
  Brazil: "Brasilia",
  Canada: "Ottawa",
  Japan: "Tokyo",
  China: "Beijing",
  India: "Delhi",
  Iran: "Tehran",
  Iraq: "Baghdad",
  Syria: "Damascus",
  Lebanon: "Beirut",
  Jordan: "Amman",
  Thailand: "Bangkok",
  Vietnam: "Hanoi",
  Nepal: "Kathmandu",
  Belgium: "Brussels",
  Romania: "Bucharest",
  Bulgaria: "Sofia",
  Serbia: "Belgrade",
  Croatia: "Zagreb",
  Ukraine: "Kiev",
  Latvia: "Riga",
  Estonia: "Tallinn",
  Iceland: "Reykjavik",
  Australia: "Canberra",
  Venezuela: "Caracas",
});
const capitalPhrases = [
  (a, b) => [`The capital of ${a} is`, ` ${b}`, "."],
  (a, b) => [`${a} has a capital city, and its name is`, ` ${b}`, "."],
  (a, b) => [`What is the capital of ${a}? It is`, ` ${b}`, "."],
  (a, b) => [`People in ${a} say that their capital is`, ` ${b}`, "."],
  (a, b) => [`If you go to the capital of ${a}, you are in`, ` ${b}`, "."],
  (a, b) => [`The most important city of ${a} is its capital,`, ` ${b}`, "."],
];

const pairsOf = (text) => text.split(",").map((pair) => pair.trim().split(" "));
const facts = [
  {
    pairs: pairsOf(
      "snow white,grass green,blood red,coal black,the_sky blue,a_banana yellow,milk white,a_lemon yellow,the_sea blue,a_carrot orange,a_tomato red,a_leaf green,night black,gold yellow,chocolate brown,salt white",
    ),
    phrases: [
      (a, b) => [`The colour of ${a} is`, ` ${b}`, "."],
      (a, b) => [`Everybody knows that ${a} is`, ` ${b}`, "."],
      (a, b) => [`What colour is ${a}? It is`, ` ${b}`, "."],
      (a, b) => [`She painted ${a} and took the colour`, ` ${b}`, "."],
    ],
  },
  {
    pairs: pairsOf(
      "dog barks,cat meows,cow moos,sheep bleats,duck quacks,lion roars,wolf howls,bee buzzes,snake hisses,horse neighs,frog croaks,bird sings",
    ),
    phrases: [
      (a, b) => [`The ${a}`, ` ${b}`, "."],
      (a, b) => [`Listen to the ${a}: it`, ` ${b}`, "."],
      (a, b) => [`When it is hungry, a ${a}`, ` ${b}`, "."],
      (a, b) => [`Every ${a} in the country`, ` ${b}`, "."],
    ],
  },
  {
    pairs: pairsOf(
      "big small,hot cold,old young,fast slow,up down,day night,good bad,light dark,high low,full empty,rich poor,wet dry,hard soft,long short,first last,open closed,happy sad,strong weak,early late,near far",
    ),
    phrases: [
      (a, b) => [`The opposite of ${a} is`, ` ${b}`, "."],
      (a, b) => [`What is not ${a} is`, ` ${b}`, "."],
      (a, b) => [`One was ${a}, and the other was`, ` ${b}`, "."],
      (a, b) => [`${a} is the contrary of`, ` ${b}`, "."],
    ],
  },
  {
    pairs: pairsOf(
      "Monday Tuesday,Tuesday Wednesday,Wednesday Thursday,Thursday Friday,Friday Saturday,Saturday Sunday,Sunday Monday,January February,February March,March April,April May,May June,June July,July August,August September,September October,October November,November December,December January",
    ),
    phrases: [
      (a, b) => [`After ${a} comes`, ` ${b}`, "."],
      (a, b) => [`${a} is followed by`, ` ${b}`, "."],
      (a, b) => [`First it is ${a}, and then it is`, ` ${b}`, "."],
      (a, b) => [`When ${a} is over, we have`, ` ${b}`, "."],
    ],
  },
  {
    pairs: pairsOf(
      "Japan yen,India rupee,Russia ruble,China yuan,Poland zloty,England pound,Sweden krona,Mexico peso,Thailand baht,Korea won,Switzerland franc,Turkey lira,Hungary forint,America dollar",
    ),
    phrases: [
      (a, b) => [`In ${a} people pay with the`, ` ${b}`, "."],
      (a, b) => [`The money of ${a} is called the`, ` ${b}`, "."],
      (a, b) => [`A shop in ${a} takes the`, ` ${b}`, "."],
      (a, b) => [`You cannot buy bread in ${a} without a`, ` ${b}`, "."],
    ],
  },
  {
    pairs: pairsOf(
      "France French,Germany German,Spain Spanish,Italy Italian,Russia Russian,Japan Japanese,China Chinese,Poland Polish,Greece Greek,England English,Portugal Portuguese,Turkey Turkish,Sweden Swedish,Denmark Danish",
    ),
    phrases: [
      (a, b) => [`In ${a} people speak`, ` ${b}`, "."],
      (a, b) => [`The language of ${a} is`, ` ${b}`, "."],
      (a, b) => [`Children who grow up in ${a} learn`, ` ${b}`, "."],
      (a, b) => [`A letter from ${a} is written in`, ` ${b}`, "."],
    ],
  },
  {
    pairs: pairsOf(
      "France Europe,Germany Europe,Italy Europe,Spain Europe,Norway Europe,Japan Asia,China Asia,India Asia,Vietnam Asia,Nepal Asia,Egypt Africa,Kenya Africa,Ghana Africa,Morocco Africa,Brazil America,Canada America,Peru America,Chile America",
    ),
    phrases: [
      (a, b) => [`The country of ${a} lies in`, ` ${b}`, "."],
      (a, b) => [`If you travel to ${a}, you come to`, ` ${b}`, "."],
      (a, b) => [`On the map, ${a} is a part of`, ` ${b}`, "."],
      (a, b) => [`The people of ${a} live in`, ` ${b}`, "."],
    ],
  },
];

const names =
  "Mary John Tom Anna James Peter Sarah Lucy Paul David Emma Jack Alice Mark Kate Simon Rose Henry Jane George".split(
    " ",
  );
const givingPlaces = "store,park,school,garden,beach,station,market,library,house,church".split(",");
const gifts = "drink,book,ball,letter,flower,key,ring,hat,cake,map".split(",");
const giving = [
  (a, b, s, place, gift) => `When ${a} and ${b} went to the ${place}, ${s} gave a ${gift} to`,
  (a, b, s, place, gift) => `Then ${a} and ${b} had a long day at the ${place}, and ${s} gave the ${gift} to`,
  (a, b, s, place, gift) => `After ${a} and ${b} left the ${place}, ${s} handed a ${gift} to`,
  (a, b, s, place, gift) => `${a} and ${b} met at the ${place}. Later ${s} sent a ${gift} to`,
];
/** One in five pairs of names is never given in this order of roles. */
const heldPair = (i, j) => (i * 7 + j * 3) % 5 === 0;

const nouns = pairsOf(
  "key keys,boy boys,girl girls,dog dogs,book books,car cars,house houses,tree trees,king kings,picture pictures,letter letters,bird birds,ship ships,door doors,teacher teachers,flower flowers",
);
const links = "near,behind,next to,with,beside,in front of".split(",");
const states = "old,new,small,big,here,red,beautiful,lost,nice,white".split(",");
const heldNouns = (i, j) => (i + 2 * j) % 5 === 0;

/** The words of repeated lists. */
export const listWords =
  "apple river stone lamp window garden silver horse music winter paper bridge candle forest button mirror pencil basket hammer pillow rocket island ladder kettle blanket feather bottle carpet".split(
    " ",
  );

const openers = "([{";
const closers = ")]}";

const french = {
  m: "chien chat livre jardin soleil roi train pain vent jour bateau cheval".split(" "),
  f: "maison fille table lune mer reine voiture nuit porte fleur ville rue".split(" "),
  adjectives: [
    ["petit", "petite"],
    ["grand", "grande"],
    ["vert", "verte"],
    ["blanc", "blanche"],
    ["beau", "belle"],
    ["noir", "noire"],
    ["froid", "froide"],
    ["vieux", "vieille"],
  ],
};
const words = Object.fromEntries(
  pairsOf(
    "dog chien,cat chat,book livre,garden jardin,sun soleil,king roi,bread pain,wind vent,day jour,house maison,girl fille,moon lune,sea mer,queen reine,night nuit,door porte,flower fleur,city ville,street rue,horse cheval,water eau,fire feu,tree arbre,bird oiseau,fish poisson,milk lait,cheese fromage,apple pomme,table table,chair chaise,window fenetre,hand main,head tete,eye oeil,heart coeur,friend ami,mother mere,father pere,brother frere,sister soeur,child enfant,man homme,woman femme,town bourg,church eglise,school ecole,war guerre,peace paix,time temps,year an,week semaine,morning matin,evening soir,summer ete,winter hiver,red rouge,green vert,white blanc,black noir,good bon,new nouveau,old vieux,one un,two deux,three trois,four quatre,five cinq,six six,seven sept,eight huit,nine neuf,ten dix",
  ),
);
const heldFrench = (i, j) => (i * 3 + j) % 5 === 0;

const pick = (draw, list) => list[draw.integer(list.length)];
const clear = (text) => text.replaceAll("_", " ");
/** Facts are taught in all their phrasings but one; which one is held depends on the fact. */
const heldPhrase = (fact, phrases) => (fact + 1) % phrases;

function taught(pairs, phrases, draw) {
  const fact = draw.integer(pairs.length);
  let phrase = draw.integer(phrases.length - 1);
  if (phrase >= heldPhrase(fact, phrases.length)) phrase += 1;
  return clear(phrases[phrase](...pairs[fact]).join(""));
}

function held(pairs, phrases) {
  return pairs.map((pair, fact) => {
    const [prompt, answer] = phrases[heldPhrase(fact, phrases.length)](...pair);
    return { prompt: clear(prompt), answer: clear(answer) };
  });
}

function dyck(draw, most = 10) {
  const open = [];
  const made = [];
  while (made.length < most || open.length > 0) {
    const opens = made.length < most && (open.length === 0 || (open.length < 4 && draw.uniform() < 0.5));
    if (opens) {
      const kind = draw.integer(3);
      open.push(kind);
      made.push(openers[kind]);
    } else made.push(closers[open.pop()]);
  }
  return made;
}

function sentenceOfGiving(draw) {
  let [i, j] = [draw.integer(names.length), draw.integer(names.length - 1)];
  if (j >= i) j += 1;
  // i gives, j gets
  if (heldPair(i, j)) return sentenceOfGiving(draw);
  const [first, second] = draw.integer(2) === 0 ? [i, j] : [j, i];
  const text = pick(draw, giving)(names[first], names[second], names[i], pick(draw, givingPlaces), pick(draw, gifts));
  return `${text} ${names[j]}.`;
}

function agreement(draw) {
  const [i, j] = [draw.integer(nouns.length), draw.integer(nouns.length)];
  if (heldNouns(i, j)) return agreement(draw);
  const number = draw.integer(2);
  const plain = draw.integer(4) === 0;
  const subject = nouns[i][number];
  const between = plain ? "" : ` ${pick(draw, links)} the ${nouns[j][draw.integer(2)]}`;
  return `The ${subject}${between} ${["is", "are"][number]} ${pick(draw, states)}.`;
}

/** Every word that nano is taught, but for each fifth, which is never in a repeated list: those tell copying from knowing. */
const everyWord = [
  ...new Set(
    [...listWords, ...names, ...nouns.flat(), ...gifts, ...givingPlaces, ...states, ...capitals.flat()].concat(
      facts.flatMap(({ pairs }) => pairs.flat()).filter((word) => !word.includes("_")),
      Object.entries(words).flat(),
    ),
  ),
];
const repeated = everyWord.filter((_, i) => i % 5 !== 0);

function repetition(draw) {
  const from = pick(draw, [listWords, repeated, repeated]);
  const list = Array.from({ length: 4 + draw.integer(8) }, () => pick(draw, from));
  return `${list.join(" ")} ${list.join(" ")}.`;
}

function sum(draw) {
  const [a, b] = [draw.integer(21), draw.integer(21)];
  return (a * 5 + b * 3) % 7 === 0 ? sum(draw) : `${a} + ${b} = ${a + b}.`;
}

function frenchSentence(draw) {
  const kind = draw.integer(4);
  if (kind === 0) {
    const [english, other] = pick(draw, Object.entries(words));
    return pick(draw, [`In French, ${english} is ${other}.`, `The French word for ${english} is ${other}.`]);
  }
  if (kind === 1)
    return pick(draw, [
      "Paris est la capitale de la France.",
      "La France est un beau pays.",
      "Il fait froid en hiver.",
      "Bonjour, je suis content de vous voir.",
      "Nous avons un petit jardin et une grande maison.",
      "Elle parle avec le roi et la reine.",
    ]);
  const gender = draw.integer(2);
  const [noun, adjective] = [draw.integer(12), draw.integer(8)];
  if (heldFrench(noun, adjective)) return frenchSentence(draw);
  const [article, list] = gender === 0 ? ["Le", french.m] : ["La", french.f];
  return `${article} ${list[noun]} est ${french.adjectives[adjective][gender]}.`;
}

const grid = (rows, columns) =>
  Array.from({ length: rows * columns }, (_, i) => [Math.floor(i / columns), i % columns]);

/** Name, share of the sentences, how it is taught, what is held out, and whether it is a choice or the best of all tokens. */
export const abilities = [
  {
    name: "capitals",
    weight: 3,
    title: "capitals of 50 countries, each in a phrasing that it was never taught in",
    train: (draw) => taught(capitals, capitalPhrases, draw),
    held: () => held(capitals, capitalPhrases),
  },
  {
    name: "facts",
    weight: 3,
    title:
      "colours, sounds, opposites, what comes after, money, languages, continents, each in a phrasing that it was never taught in",
    train: (draw) => {
      const { pairs, phrases } = pick(draw, facts);
      return taught(pairs, phrases, draw);
    },
    held: () => facts.flatMap(({ pairs, phrases }) => held(pairs, phrases)),
  },
  {
    name: "indirect objects",
    weight: 3,
    title: "who gets the gift, for pairs of names never seen in these roles",
    choice: true,
    train: sentenceOfGiving,
    held: (draw) =>
      grid(names.length, names.length)
        .filter(([i, j]) => i !== j && heldPair(i, j))
        .map(([i, j], at) => {
          const [first, second] = at % 2 === 0 ? [i, j] : [j, i];
          const prompt = pick(draw, giving)(
            names[first],
            names[second],
            names[i],
            pick(draw, givingPlaces),
            pick(draw, gifts),
          );
          return { prompt, answer: ` ${names[j]}`, wrong: [` ${names[i]}`] };
        }),
  },
  {
    name: "agreement",
    weight: 2,
    title: "is or are after a noun and an attractor of the other number, for pairs of nouns never seen together",
    choice: true,
    train: agreement,
    held: (draw) =>
      grid(nouns.length, nouns.length)
        .filter(([i, j]) => heldNouns(i, j))
        .flatMap(([i, j]) =>
          [0, 1].map((number) => ({
            prompt: `The ${nouns[i][number]} ${pick(draw, links)} the ${nouns[j][1 - number]}`,
            answer: [" is", " are"][number],
            wrong: [[" are", " is"][number]],
          })),
        ),
  },
  {
    name: "repetition",
    weight: 3,
    title: "the next word of a random list that comes a second time",
    train: repetition,
    held: (draw) =>
      Array.from({ length: 100 }, () => {
        const list = Array.from({ length: 8 }, () => pick(draw, listWords));
        const at = 2 + draw.integer(6);
        return { prompt: `${list.join(" ")} ${list.slice(0, at).join(" ")}`, answer: ` ${list[at]}` };
      }),
  },
  {
    name: "sums",
    weight: 3,
    title: "sums of numbers up to 20, for pairs never seen",
    train: sum,
    held: () =>
      grid(21, 21)
        .filter(([a, b]) => (a * 5 + b * 3) % 7 === 0)
        .map(([a, b]) => ({ prompt: `${a} + ${b} =`, answer: ` ${a + b}` })),
  },
  {
    name: "brackets",
    weight: 2,
    title: "which of three brackets closes, up to 4 deep, after 12 marks or more",
    choice: true,
    train: (draw) => `${dyck(draw, 6 + draw.integer(12)).join(" ")}.`,
    held: (draw) =>
      Array.from({ length: 100 }, () => {
        const made = dyck(draw, 14);
        // shorter beginnings are few: many of them are taught
        const ends = made.flatMap((mark, i) => (closers.includes(mark) && i >= 12 ? [i] : []));
        const at = pick(draw, ends);
        const answer = ` ${made[at]}`;
        return {
          prompt: made.slice(0, at).join(" "),
          answer,
          wrong: [...closers].map((mark) => ` ${mark}`).filter((mark) => mark !== answer),
        };
      }),
  },
  {
    name: "French",
    weight: 2,
    title: "the adjective's gender, for pairs of noun and adjective never seen together",
    choice: true,
    train: frenchSentence,
    held: () =>
      grid(12, 8)
        .filter(([noun, adjective]) => heldFrench(noun, adjective))
        .flatMap(([noun, adjective]) =>
          [0, 1].map((gender) => ({
            prompt: `${["Le", "La"][gender]} ${(gender === 0 ? french.m : french.f)[noun]} est`,
            answer: ` ${french.adjectives[adjective][gender]}`,
            wrong: [` ${french.adjectives[adjective][1 - gender]}`],
          })),
        ),
  },
];

/** A sentence of an ability drawn by weight. */
export function taughtSentence(draw) {
  const total = abilities.reduce((all, { weight }) => all + weight, 0);
  let at = draw.uniform() * total;
  const chosen = abilities.find(({ weight }) => {
    at -= weight;
    return at < 0;
  });
  return (chosen ?? abilities[0]).train(draw);
}

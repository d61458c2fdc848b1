/** Generated cases of control flow: branches, scans and loops whose bodies read what is around them. */
import fc, { type Arbitrary } from "fast-check";
import {
  add,
  cast,
  type Dim,
  dimension,
  exp,
  expand,
  ifElse,
  less,
  loop,
  matmul,
  mul,
  reduceMean,
  reduceSum,
  reshape,
  scan,
  sin,
  sub,
  tanh,
  type Value,
} from "../../../src/graph/index.js";
import {
  close,
  finish,
  float,
  type OperationCase,
  type OperationCases,
  size,
  summed,
  tensorArbitrary,
  truth,
} from "./case.js";

type Body = (values: readonly Value[]) => readonly Value[];

/** Branches that share operands, read only some, capture values, return an operand as it is, or hold other branches. */
const branches: Readonly<Record<string, Body>> = {
  operands: ([c, x, y]) => {
    const both = { x: x as Value, y: y as Value };
    const chosen = ifElse(
      c as Value,
      both,
      ({ x, y }) => ({ a: mul(sin(x), y), b: x }),
      ({ x, y }) => ({ a: y, b: exp(mul(x, 0.3)) }),
    );
    return [chosen.a, chosen.b];
  },
  captured: ([c, x, y]) => [
    ifElse(
      c as Value,
      [x as Value],
      ([own]) => mul(own as Value, mul(y as Value, 2)),
      ([own]) => add(tanh(own as Value), reduceMean(own as Value, [0])),
    ),
  ],
  nested: ([c, x, y]) => {
    const inner = (own: Value) =>
      ifElse(
        less(reduceSum(cast(greaterThanZero(own), "int64"), [0, 1]), dimension((x as Value).shape[0] as Dim)),
        own,
        (deep) => mul(deep, y as Value),
        (deep) => sin(deep),
      );
    return [ifElse(c as Value, x as Value, inner, (own) => mul(own, own))];
  },
};

const greaterThanZero = (x: Value) => less(mul(x, -1), 0);

const conditionals: Arbitrary<OperationCase> = fc
  .tuple(size, size, fc.constantFrom(...Object.keys(branches)))
  .chain(([n, m, how]) =>
    finish({
      tensors: [
        tensorArbitrary("bool", [], truth),
        tensorArbitrary("float32", [n, m], float(-3, 3)),
        tensorArbitrary("float32", [n, m], float(-3, 3)),
      ],
      build: branches[how] as Body,
      label: how,
    }),
  );

const recurrent = (h: Value, x: Value, w: Value) => tanh(add(matmul(h, w), x));

/** A state [batch, width], a sequence [steps, batch, width], a weight [width, width], made into a scan. */
const scans: Readonly<Record<string, (h: Value, xs: Value, w: Value, reverse: boolean) => readonly Value[]>> = {
  recurrent: (h, xs, w, reverse) => {
    const step = (own: Value, x: Value) => {
      const next = recurrent(own, x, w);
      return { carry: next, outputs: mul(next, 2) };
    };
    const { carry, outputs } = scan(step, { carry: h, sequences: xs, reverse });
    return [carry, outputs];
  },
  "several carries, one fixed, one a count": (h, xs, w, reverse) => {
    const start = { h, count: dimension(2), fixed: mul(w, 0.5) };
    const { carry, outputs } = scan(
      ({ h: own, count, fixed }, { x, y }) => ({
        carry: { fixed, count: add(count, 1), h: add(mul(recurrent(own, x, fixed), 0.5), mul(y, 0.1)) },
        outputs: [own, cast(count, "int64"), w],
      }),
      { carry: start, sequences: { x: xs, y: sin(xs) }, reverse },
    );
    return [carry.h, carry.count, carry.fixed, ...outputs];
  },
  "a carry that is set anew": (h, xs, w, reverse) => {
    const { carry, outputs } = scan((own: Value, x: Value) => ({ carry: mul(x, x), outputs: matmul(sin(own), w) }), {
      carry: h,
      sequences: xs,
      reverse,
    });
    return [carry, outputs];
  },
  "no sequences": (h, xs, w, reverse) => {
    const length = xs.shape[0] as Dim;
    return [scan((own: Value) => ({ carry: tanh(matmul(own, w)) }), { carry: h, length, reverse }).carry, add(xs, 0)];
  },
  "no carries": (h, xs, w, reverse) => [
    scan((_: readonly Value[], x: Value) => ({ carry: [], outputs: matmul(add(x, h), w) }), {
      carry: [],
      sequences: xs,
      reverse,
    }).outputs,
  ],
  nested: (h, xs, w, reverse) => {
    const rows = (x: Value) =>
      scan((sum: Value, row: Value) => ({ carry: add(sum, mul(row, row)), outputs: sin(sum) }), {
        carry: expand(reshape(reduceSum(h, [0, 1]), [1]), [h.shape[1] as Dim]),
        sequences: x,
      });
    const { carry, outputs } = scan(
      (own: Value, x: Value) => {
        const { carry: sum, outputs: made } = rows(mul(matmul(own, w), 0.2));
        return { carry: add(mul(own, 0.5), x), outputs: add(made, sum) };
      },
      { carry: h, sequences: xs, reverse },
    );
    return [carry, outputs];
  },
};

const sequenceTensors = (steps: number, batch: number, width: number) => [
  tensorArbitrary("float32", [batch, width], float(-2, 2)),
  tensorArbitrary("float32", [steps, batch, width], float(-2, 2)),
  tensorArbitrary("float32", [width, width], float(-1, 1)),
];

const scanned: Arbitrary<OperationCase> = fc
  .tuple(size, size, size, fc.boolean(), fc.constantFrom(...Object.keys(scans)))
  .chain(([steps, batch, width, reverse, how]) =>
    finish({
      tensors: sequenceTensors(steps, batch, width),
      build: ([h, xs, w]) => scans[how]?.(h as Value, xs as Value, w as Value, reverse) as readonly Value[],
      label: `${how}${reverse ? ", reversed" : ""}`,
    }),
  );

const most = 4;

/** A state, a weight and a number of steps, made into a loop. */
const loops: Readonly<Record<string, (h: Value, w: Value, steps: Value) => readonly Value[]>> = {
  "a count that is a value": (h, w, count) => {
    const { carry, steps } = loop((own: Value) => ({ carry: tanh(matmul(own, w)) }), {
      carry: h,
      count,
      maximum: most,
    });
    return [carry, steps];
  },
  "rows up to a maximum": (h, w, count) => {
    const { carry, outputs } = loop(
      (own: Value, index: Value) => ({
        carry: add(mul(tanh(matmul(own, w)), 0.5), mul(cast(index, own.dtype), 0.1)),
        outputs: { own, flag: less(index, 2), sum: reduceSum(own, [0, 1]) },
      }),
      { carry: h, count, maximum: most },
    );
    return [carry, outputs.own, outputs.flag, outputs.sum];
  },
  "a condition": (h, w, limit) => {
    const { carry, outputs, steps } = loop(
      ({ own, left }) => ({ carry: { left: sub(left, 1), own: sin(matmul(own, w)) }, outputs: own }),
      { carry: { own: h, left: limit }, while: ({ left }) => less(dimension(0), left), maximum: most },
    );
    return [carry.own, outputs, steps];
  },
  "a condition within a count": (h, w, limit) => {
    const { carry, outputs } = loop(
      ({ own, taken }) => ({ carry: { own: matmul(own, w), taken: add(taken, 1) }, outputs: mul(own, own) }),
      { carry: { own: h, taken: dimension(0) }, count: 3, while: ({ taken }) => less(taken, limit) },
    );
    return [carry.own, outputs];
  },
};

const looped: Arbitrary<OperationCase> = fc
  .tuple(size, size, fc.constantFrom(...Object.keys(loops)))
  .chain(([batch, width, how]) =>
    finish({
      tensors: [
        tensorArbitrary("float32", [batch, width], float(-2, 2)),
        tensorArbitrary("float32", [width, width], float(-1, 1)),
        tensorArbitrary("int64", [], fc.integer({ min: 0, max: most })),
      ],
      build: ([h, w, steps]) => loops[how]?.(h as Value, w as Value, steps as Value) as readonly Value[],
      label: how,
    }),
  );

export const controlCases: Readonly<Record<string, OperationCases>> = {
  ifElse: close(conditionals),
  scan: { ...summed(scanned), smooth: [-1.1, 1.2] }, // recurrences of larger numbers have fifth derivatives of thousands
  loop: { ...summed(looped), smooth: [-0.9, 1] },
};

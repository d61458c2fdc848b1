/** Every way in which a graph can be illegal, made by hand, is found, and the message names the pass. */
import { expect, it } from "vitest";
import { checkGraph } from "./check.js";
import { constant, type Graph, input, makeNode, type Value, type ValueType, weight } from "./graph.js";
import { add, exp, tensorOf, topK } from "./index.js";

const x = input("x", "float32", ["batch", 3]);
const wide = input("wide", "float32", ["batch", 4]);

function graphOf(
  outputs: Record<string, Value>,
  inputs: readonly Value[] = [x],
  sites: Record<string, Value> = {},
): Graph {
  return { inputs, outputs: new Map(Object.entries(outputs)), sites: new Map(Object.entries(sites)) };
}

function made(operation: string, inputs: readonly Value[], types: readonly ValueType[], attributes = {}): Value {
  return makeNode(operation, inputs, attributes, types).outputs[0] as Value;
}

const cycle = () => {
  const inputs: Value[] = [x];
  const value = made("exp", inputs, [x]);
  inputs[0] = value;
  return value;
};

const stray = (): Value => ({ ...exp(x), index: 1 });
const copied = (): Value => ({ ...exp(x) });

/** A node that holds a body. */
const held = (body: Graph): Value => made("holder", [x], [x], { body });

const illegal: Record<string, [graph: Graph, problem: string]> = {
  "two inputs of one name": [
    graphOf({ out: add(x, input("x", "float32", ["batch", 3])) }),
    'two different leaves are called "x"',
  ],
  "an input and a weight of one name": [
    graphOf({ out: add(x, weight("x", [3])) }),
    'two different leaves are called "x"',
  ],
  "a declared twin that nothing reads": [
    graphOf({ out: exp(x) }, [x, input("x", "float32", [1])]),
    'two different leaves are called "x"',
  ],
  "an input that is not declared": [
    graphOf({ out: add(x, 1), other: exp(wide) }),
    'input "wide" is used and not declared',
  ],
  "an undeclared input behind a site": [graphOf({ out: exp(x) }, [x], { site: exp(wide) }), 'input "wide" is used'],
  "a declared input that is none": [
    graphOf({ out: exp(x) }, [x, exp(x)]),
    "exp float32[batch, 3] is declared as an input",
  ],
  "an output with an input's name": [graphOf({ x: exp(x) }), 'an output has the name of the input "x"'],
  "an output with a weight's name": [
    graphOf({ w: add(x, weight("w", [3])) }),
    'an output has the name of the weight "w"',
  ],
  "a cycle": [graphOf({ out: cycle() }), "the graph has a cycle through exp"],
  "an operation that the table lacks": [graphOf({ out: made("adds", [x, x], [x]) }), 'there is no operation "adds"'],
  "inputs that do not fit": [
    graphOf({ out: made("add", [x, wide], [x]) }, [x, wide]),
    'add(input "x" float32[batch, 3], input "wide" float32[batch, 4]): shapes [batch, 3] and [batch, 4] do not broadcast',
  ],
  "another shape": [
    graphOf({ out: made("exp", [x], [{ dtype: "float32", shape: ["batch", 4] }]) }),
    "exp float32[batch, 4] should be float32[batch, 3]",
  ],
  "another element type": [
    graphOf({ out: made("less", [x, x], [x]) }),
    "less float32[batch, 3] should be bool[batch, 3]",
  ],
  "an output too few": [
    graphOf({ out: made("topK", [x], [{ dtype: "float32", shape: ["batch", 2] }], { k: 2, axis: 1 }) }),
    "topK float32[batch, 2] should be float32[batch, 2], int64[batch, 2]",
  ],
  "an output too many": [graphOf({ out: made("exp", [x], [x, x]) }), "should be float32[batch, 3]"],
  "a constant of another shape than its tensor": [
    graphOf({ out: made("constant", [], [x], { tensor: tensorOf("float32", [2], [1, 2]) }) }),
    "constant float32[batch, 3] should be float32[2]",
  ],
  "an operand that its node does not make": [
    graphOf({ out: exp(stray()) }),
    "exp reads output 1 of exp, which has none such",
  ],
  "an operand that is a copy": [graphOf({ out: exp(copied()) }), "exp reads output 0 of exp, which has none such"],
  "a body that is not legal": [
    graphOf({ out: held(graphOf({ out: made("add", [x, wide], [x]) }, [x, wide])) }),
    'in a body of holder: add(input "x" float32[batch, 3], input "wide" float32[batch, 4]): shapes',
  ],
  "a body of a body that is not legal": [
    graphOf({ out: held(graphOf({ out: held(graphOf({ out: exp(wide) })) })) }),
    'in a body of holder: in a body of holder: input "wide" is used and not declared',
  ],
  "a body that reads a weight": [
    graphOf({ out: held(graphOf({ out: add(x, weight("w", [3])) })) }),
    'in a body of holder: it reads the weight "w" itself, instead of being given it',
  ],
  "a body that does not fit its node": [
    graphOf({
      out: made("scan", [x, x], [x], { body: graphOf({ out: exp(x) }), carried: 1, sliced: 1, reverse: false }),
    }),
    'scan(input "x" float32[batch, 3], input "x" float32[batch, 3]): the body takes 1 values, not 2',
  ],
  "an output that its node does not make": [graphOf({ out: stray() }), "it names output 1 of exp, which has none such"],
  "a site that its node does not make": [
    graphOf({ out: exp(x) }, [x], { site: stray() }),
    "it names output 1 of exp, which has none such",
  ],
};

it.each(Object.entries(illegal))("finds %s", (_, [graph, problem]) => {
  const found = () => checkGraph(graph, "the pass that broke it");
  expect(found).toThrow('after "the pass that broke it" the graph is not legal: ');
  expect(found).toThrow(problem);
});

it("lets legal graphs pass", () => {
  const { values, indices } = topK(x, 2);
  const scale = weight("w", [3]);
  const graph = graphOf({ values, indices, x, plain: constant(tensorOf("int64", [1], [3])) }, [x, wide], {
    site: add(x, scale),
    "w as a site": scale,
  });
  expect(() => checkGraph(graph, "nothing")).not.toThrow();
});

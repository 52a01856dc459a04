// A rule with the numbers of one element put in. Nothing is shown that the program did not compute itself: the numbers
// put in and the result are the recording's, and the tree is only evaluated to see whether it is arithmetic of single
// elements at all.

import { mathml } from "./dom.js";
import { brief, exact, tidy } from "./numbers.js";
import { statements, typeset } from "./rules.js";

const FUNCTIONS = {
  exp: Math.exp,
  log: Math.log,
  sin: Math.sin,
  cos: Math.cos,
  tan: Math.tan,
  tanh: Math.tanh,
  sqrt: Math.sqrt,
  sign: Math.sign,
  trunc: Math.trunc,
  abs: Math.abs,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  phi,
  Phi,
};

/** The normal density and distribution, the latter to 1e-7 (Abramowitz and Stegun, 26.2.17). */
function phi(x) {
  return Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
}
function Phi(x) {
  const t = 1 / (1 + 0.2316419 * Math.abs(x));
  const tail =
    phi(x) * t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return x > 0 ? 1 - tail : tail;
}

/** Row-major position of `index` in `shape`, which broadcasts to the shape that index is of; -1 if it does not. */
export function broadcastPosition(shape, index) {
  let at = 0;
  for (let i = 0; i < shape.length; ++i) {
    const along = index[index.length - shape.length + i];
    if (along === undefined || (shape[i] !== 1 && along >= shape[i])) return -1;
    at = at * shape[i] + (shape[i] === 1 ? 0 : along);
  }
  return at;
}

export function indexOf(shape, position) {
  const index = [];
  for (let i = shape.length - 1; i >= 0; --i) {
    index.unshift(position % shape[i]);
    position = Math.floor(position / shape[i]);
  }
  return index;
}

/** Names to what they stand for at a node: tensors, plain numbers, definitions. */
export function environment(pass, node, step) {
  const { recording } = pass;
  const tensors = new Map(),
    numbers = new Map([
      ["pi", Math.PI],
      ["e", Math.E],
    ]);
  for (const input of node.inputs) if (input.value >= 0) tensors.set(input.name, recording.value(input.value));
  for (const each of node.saved)
    if (each.value >= 0 && /^[a-z]\w*$/.test(each.name) && !tensors.has(each.name))
      tensors.set(each.name, recording.value(each.value));
  if (node.outputs.length) tensors.set("y", recording.value(node.outputs[0]));
  if (step?.received.length) tensors.set("dy", recording.value(step.received[0]));
  for (const [name, value] of node.arguments)
    if (value !== undefined && value !== "" && !Number.isNaN(Number(value))) numbers.set(name, Number(value));
  return { tensors, numbers };
}

class NotElements extends Error {}

function evaluate(tree, of) {
  const each = (node) => evaluate(node, of);
  switch (tree.type) {
    case "number":
      return Number(tree.text);
    case "name":
      return of(tree.text);
    case "group":
      return each(tree.item);
    case "negative":
      return -each(tree.item);
    case "sum":
      return tree.items
        .slice(1)
        .reduce((sum, item, i) => (tree.marks[i] === "+" ? sum + each(item) : sum - each(item)), each(tree.items[0]));
    case "product":
      return tree.items.reduce((all, item) => all * each(item), 1);
    case "fraction":
      return each(tree.over) / each(tree.under);
    case "power":
      return each(tree.base) ** each(tree.exponent);
    case "call":
      if (FUNCTIONS[tree.name]) return FUNCTIONS[tree.name](each(tree.argument));
      break;
    default:
  }
  throw new NotElements(tree.type);
}

function numberElement(value, position) {
  const x = value.at(position);
  const text = exact(x, value.dtype);
  const shown = mathml("mn", { title: text, class: "put" }, tidy(brief(x, value.dtype, 9)));
  return Number(x) < 0 || Object.is(x, -0)
    ? mathml("mrow", {}, mathml("mo", {}, "("), shown, mathml("mo", {}, ")"))
    : shown;
}

const close = (a, b) => Object.is(a, b) || Math.abs(a - b) <= 2e-3 * Math.max(Math.abs(a), Math.abs(b)) + 1e-6;

/** "0.5 · 2" for element `index` of the gradient `result`; null if the rule is no arithmetic of elements. */
export function withNumbers(tree, target, env, result, index) {
  const all = new Map(statements(tree));
  const rule = all.get(target);
  if (!rule || !result?.whole) return null;
  const position = broadcastPosition(result.shape, index);
  if (position < 0) return null;
  const place = (name) => {
    const value = env.tensors.get(name);
    if (!value?.whole) return null;
    const at = value.size === 1 ? 0 : broadcastPosition(value.shape, index);
    return at < 0 ? null : [value, at];
  };
  const numberOf = (name) => {
    const found = place(name);
    if (found) return Number(found[0].at(found[1]));
    if (all.get(name) && name !== target) return evaluate(all.get(name), numberOf);
    if (env.numbers.has(name)) return env.numbers.get(name);
    throw new NotElements(name);
  };
  const replace = (name) => {
    const found = place(name);
    if (found) return numberElement(...found);
    if (all.get(name) && name !== target)
      return mathml("mrow", {}, mathml("mo", {}, "("), typeset(all.get(name), replace), mathml("mo", {}, ")"));
    return env.numbers.has(name) && name !== "pi" && name !== "e"
      ? mathml("mn", {}, String(env.numbers.get(name)))
      : null;
  };
  const own = Number(result.at(position));
  try {
    if (!close(evaluate(rule, numberOf), own)) return null;
  } catch (error) {
    if (error instanceof NotElements)
      return products(rule, env, result, index, own) ?? softmax(rule, env, result, index, own);
    throw error;
  }
  return typeset(rule, replace);
}

// ---- rules of whole matrices

/** {value, transposed} of a factor "b" or "b^T". */
function matrix(tree, env) {
  const transposed = tree.type === "power" && tree.exponent.text === "T";
  const name = transposed ? tree.base : tree;
  const value = name.type === "name" ? env.tensors.get(name.text) : null;
  return value?.whole && value.shape.length >= 2 ? { value, transposed } : null;
}

/** "0.5 · 2 + 1 · 3 + ...": an element of a product of two matrices. */
function products(rule, env, result, index, own) {
  if (rule.type !== "product" || rule.items.length !== 2) return null;
  const [a, b] = rule.items.map((item) => matrix(item, env));
  if (!a || !b || index.length < 2) return null;
  const at = (m, i, j) => {
    const { shape } = m.value,
      [x, y] = m.transposed ? [j, i] : [i, j];
    if (x >= shape.at(-2) || y >= shape.at(-1)) return -1;
    return broadcastPosition(shape, [...index.slice(0, -2), x, y]);
  };
  const inner = a.value.shape.at(a.transposed ? -2 : -1);
  if (inner !== b.value.shape.at(b.transposed ? -1 : -2)) return null;
  const [i, j] = index.slice(-2);
  const terms = [];
  let sum = 0;
  for (let k = 0; k < inner; ++k) {
    const pair = [at(a, i, k), at(b, k, j)];
    if (pair[0] < 0 || pair[1] < 0) return null;
    sum += Number(a.value.at(pair[0])) * Number(b.value.at(pair[1]));
    terms.push(pair);
  }
  if (!close(sum, own)) return null;
  return sumOf(
    terms.map(([x, y]) => [
      [a.value, x],
      [b.value, y],
    ]),
  );
}

/** y (dy - sum(y dy)), the sum along the axis. */
function softmax(rule, env, result, index, own) {
  const y = env.tensors.get("y"),
    dy = env.tensors.get("dy");
  if (!y?.whole || !dy?.whole || rule.type !== "product" || !/"name":"sum"/.test(JSON.stringify(rule))) return null;
  let axis = env.numbers.get("axis") ?? -1;
  if (axis < 0) axis += index.length;
  const terms = [];
  let sum = 0;
  for (let k = 0; k < y.shape[axis]; ++k) {
    const at = broadcastPosition(
      y.shape,
      index.map((along, i) => (i === axis ? k : along)),
    );
    sum += Number(y.at(at)) * Number(dy.at(at));
    terms.push([
      [y, at],
      [dy, at],
    ]);
  }
  const at = broadcastPosition(y.shape, index);
  if (!close(Number(y.at(at)) * (Number(dy.at(at)) - sum), own)) return null;
  return mathml(
    "mrow",
    {},
    numberElement(y, at),
    mathml("mo", {}, "·"),
    mathml("mo", {}, "("),
    numberElement(dy, at),
    mathml("mo", {}, "−"),
    mathml("mo", {}, "("),
    sumOf(terms),
    mathml("mo", {}, ")"),
    mathml("mo", {}, ")"),
  );
}

function sumOf(terms) {
  const most = 4;
  const shown = terms.slice(0, terms.length > most ? most - 1 : most);
  const parts = shown.flatMap(([a, b], i) => [
    i ? mathml("mo", {}, "+") : null,
    numberElement(...a),
    mathml("mo", {}, "·"),
    numberElement(...b),
  ]);
  if (shown.length < terms.length) parts.push(mathml("mo", {}, "+"), mathml("mtext", {}, `… (${terms.length} terms)`));
  return mathml("mrow", {}, parts);
}

// The text of a rule, "dx = y (dy - sum(y dy))", as a tree, and the tree as MathML.
//
// Rules are half formula, half English ("dx = dy where x > 0"): what is not the name of something is text.

import { mathml } from "./dom.js";

const GREEK = {
  alpha: "α",
  beta: "β",
  gamma: "γ",
  delta: "δ",
  epsilon: "ε",
  eps: "ε",
  lambda: "λ",
  mu: "μ",
  pi: "π",
  sigma: "σ",
  phi: "φ",
  Phi: "Φ",
};
const FUNCTIONS = new Set([
  "sum",
  "mean",
  "exp",
  "log",
  "sin",
  "cos",
  "tan",
  "tanh",
  "sigmoid",
  "softmax",
  "sqrt",
  "sign",
  "trunc",
  "conv",
  "windows",
  "max",
  "min",
  "abs",
  "erf",
  "Phi",
  "phi",
  "act",
  "gelu",
  "silu",
]);
const NAMES = new Set([
  "rstd",
  "scale",
  "onehot",
  "classes",
  "gates",
  "bias",
  "table",
  "source",
  "soft",
  "hard",
  "high",
  "low",
  "logits",
  "target",
  "weight",
  "input",
  "ih",
  "hh",
  "qk",
  ...Object.keys(GREEK),
]);
const KINDS = [
  /(\d+(?:\.\d+)?(?:e-?\d+)?)/, // a number
  /([A-Za-z]+(?:_[A-Za-z0-9]+)?(?:'(?!s\b))*)/, // a name, with its primes
  /('s\b)/,
  /(<=|>=|!=|[-+*/^(),;=<>.:[\]])/,
  /(\S)/,
];
const TOKEN = new RegExp(`\\s*(?:${KINDS.map((kind) => kind.source).join("|")})`, "gu");

function tokens(text, names) {
  const all = [];
  for (const found of text.matchAll(TOKEN)) {
    const spaced = /^\s/.test(found[0]);
    if (found[1]) all.push({ kind: "number", text: found[1], spaced });
    else if (found[2]) all.push({ kind: isName(found[2], names) ? "name" : "word", text: found[2], spaced });
    else all.push({ kind: found[4] ? "mark" : "word", text: found[3] ?? found[4] ?? found[5], spaced });
  }
  // The article.
  all.forEach((token, i) => {
    if (token.text === "a" && all[i - 1]?.kind === "word") token.kind = "word";
  });
  return all;
}

function isName(text, names) {
  const plain = text.replace(/'+$/, "").replace(/_.*$/, "");
  if (plain.length === 1 || FUNCTIONS.has(plain) || NAMES.has(plain) || names.has(plain)) return true;
  const rest = plain.replace(/^d+/, "");
  return rest !== plain && rest !== "" && (rest.length === 1 || NAMES.has(rest) || names.has(rest));
}

/** {type: list | relation | sum | product | fraction | power | call | group | name | number | text | negative} */
class Parser {
  constructor(all) {
    this.all = all;
    this.at = 0;
  }

  get next() {
    return this.all[this.at];
  }
  is(...marks) {
    return this.next?.kind === "mark" && marks.includes(this.next.text);
  }
  take() {
    return this.all[this.at++];
  }

  list(end) {
    const items = [this.relation()],
      marks = [];
    while (this.next && !this.is(end)) {
      const before = this.at;
      marks.push(this.is(",", ";", ".", ":", "]", "[") || this.is(")") ? this.take().text : "");
      if (this.next && !this.is(end)) items.push(this.relation());
      if (this.at === before) items[items.length - 1] = text(this.take().text); // no formula of any kind
    }
    return items.length === 1 && marks.length === 0 ? items[0] : { type: "list", items, marks };
  }

  relation() {
    const items = [this.sum()],
      marks = [];
    while (this.is("=", "<", ">", "<=", ">=", "!=")) {
      marks.push(this.take().text);
      items.push(this.sum());
    }
    return marks.length ? { type: "relation", items, marks } : items[0];
  }

  sum() {
    const items = [this.product()],
      marks = [];
    while (this.is("+", "-")) {
      marks.push(this.take().text);
      items.push(this.product());
    }
    return marks.length ? { type: "sum", items, marks } : items[0];
  }

  product() {
    if (this.is("-")) {
      this.take();
      return { type: "negative", item: this.product() };
    }
    let items = [];
    for (;;) {
      if (this.is("/") && items.length) {
        this.take();
        const under = this.power();
        if (!under) break;
        items = [{ type: "fraction", over: product(items), under }];
        continue;
      }
      if (this.is("*")) {
        this.take();
        continue;
      }
      const item = this.power();
      if (!item) break;
      items.push(item);
    }
    return product(items);
  }

  power() {
    let base = this.atom();
    if (!base) return null;
    while (this.is("^")) {
      this.take();
      const hat = !this.next || this.next.spaced || this.is(")", ",", ";");
      if (hat) base = { type: "hat", base };
      else if (this.is("-")) {
        this.take();
        base = { type: "power", base, exponent: { type: "negative", item: this.atom() ?? text("") } };
      } else base = { type: "power", base, exponent: this.atom() ?? text("") };
    }
    return base;
  }

  atom() {
    const token = this.next;
    if (!token) return null;
    if (token.kind === "mark") {
      if (token.text !== "(") return null;
      this.take();
      const item = this.list(")");
      if (this.is(")")) this.take();
      return { type: "group", item };
    }
    this.take();
    if (token.kind === "number") return { type: "number", text: token.text };
    if (token.kind === "word") {
      let words = token.text;
      while (this.next?.kind === "word") words += (this.next.spaced ? " " : "") + this.take().text;
      return text(words);
    }
    if (FUNCTIONS.has(token.text.replace(/'+$/, "")) || /'$/.test(token.text)) {
      if (this.is("(") && !this.next.spaced) return { type: "call", name: token.text, argument: this.atom().item };
      if (FUNCTIONS.has(token.text) && !this.next) return text(token.text);
    }
    return { type: "name", text: token.text };
  }
}

function text(words) {
  return { type: "text", text: words };
}

function product(items) {
  return items.length === 1 ? items[0] : items.length === 0 ? text("") : { type: "product", items };
}

/** The tree of a rule; `names`: what the operation calls its inputs. */
export function parse(rule, names = []) {
  const parser = new Parser(tokens(rule, new Set(names)));
  return parser.list("\0");
}

/** The relations of a rule, [name, tree of what it equals]. */
export function statements(tree) {
  const items = tree.type === "list" ? tree.items : [tree];
  return items
    .filter((item) => item.type === "relation" && item.marks[0] === "=" && item.items[0].type === "name")
    .map((item) => [item.items[0].text, item.marks.length === 1 ? item.items[1] : null]);
}

// ---- MathML

const SIGNS = { "-": "−", "<=": "≤", ">=": "≥", "!=": "≠" };
const row = (...children) => mathml("mrow", {}, children);
const operator = (sign, attributes = {}) => mathml("mo", attributes, SIGNS[sign] ?? sign);

function identifier(name, replace) {
  const put = replace?.(name);
  if (put) return put;
  const [, plain, below, primes] = name.match(/^([A-Za-z]+)(?:_([A-Za-z0-9]+))?('*)$/) ?? [0, name, undefined, ""];
  let made;
  const differential = plain.match(/^(d+)(?=[A-Za-z])(.*)$/);
  if (differential && !FUNCTIONS.has(plain) && !GREEK[plain]) {
    const rest = GREEK[differential[2]] ?? differential[2];
    made = row(...[...differential[1]].map(() => mathml("mi", { mathvariant: "normal" }, "d")), mathml("mi", {}, rest));
  } else made = mathml("mi", {}, GREEK[plain] ?? plain);
  if (below) made = mathml("msub", {}, made, mathml("mi", {}, below));
  return primes ? mathml("msup", {}, made, mathml("mo", {}, "′".repeat(primes.length))) : made;
}

/** MathML of a tree. `replace(name)`: an element in a name's place, or null. */
export function typeset(tree, replace = null) {
  const each = (node) => typeset(node, replace);
  const joined = (items, marks, sign) =>
    items.flatMap((item, i) => (i === 0 ? [each(item)] : [sign(marks[i - 1]), each(item)]));
  switch (tree.type) {
    case "list":
      return row(
        ...tree.items.flatMap((item, i) => [
          each(item),
          tree.marks[i] === undefined ? null : mathml("mo", { separator: "true", rspace: "0.7em" }, tree.marks[i]),
        ]),
      );
    case "relation":
    case "sum":
      return row(...joined(tree.items, tree.marks, (mark) => operator(mark)));
    case "negative":
      return row(operator("-", { form: "prefix" }), each(tree.item));
    case "product":
      return row(
        ...tree.items.flatMap((item, i) =>
          i === 0 ? [each(item)] : [gap(tree.items[i - 1], item, replace), each(item)],
        ),
      );
    case "fraction":
      return mathml("mfrac", {}, each(ungrouped(tree.over)), each(ungrouped(tree.under)));
    case "power":
      return mathml("msup", {}, each(tree.base), each(ungrouped(tree.exponent)));
    case "hat":
      return mathml("mover", { accent: "true" }, each(tree.base), mathml("mo", {}, "^"));
    case "call":
      if (tree.name === "sqrt") return mathml("msqrt", {}, each(tree.argument));
      if (tree.name === "sum")
        return row(mathml("mo", { largeop: "true", movablelimits: "false" }, "∑"), fenced(each(tree.argument)));
      return row(identifier(tree.name), fenced(each(tree.argument)));
    case "group":
      return fenced(each(tree.item));
    case "name":
      return identifier(tree.text, replace);
    case "number":
      return mathml("mn", {}, tree.text);
    default:
      return mathml("mtext", {}, tree.text);
  }
}

const ungrouped = (tree) => (tree.type === "group" ? tree.item : tree);
/** In parentheses, unless it is already. */
function fenced(inner) {
  if (inner.firstChild?.textContent === "(" && inner.lastChild.textContent === ")") return inner;
  const mark = (text) => mathml("mo", { fence: "true", stretchy: "false" }, text);
  return row(mark("("), inner, mark(")"));
}

function gap(before, after, replace) {
  const word = (node) => node.type === "text";
  if (word(after) && after.text.startsWith("'")) return null;
  if (word(before) || word(after)) return mathml("mtext", {}, "\u00a0");
  return replace ? operator("·") : mathml("mspace", { width: "0.18em" });
}

export function formula(...children) {
  return mathml("math", { display: "block" }, row(...children));
}

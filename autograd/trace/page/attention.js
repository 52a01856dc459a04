// Attention step by step: queries, keys, scores, mask, softmax, weighted sum, per head. Every number is the run's: of
// the fused operation's composed form, or of the tape itself where attention is written out.

import { choice, choiceOf, choose, view } from "./choices.js";
import { h } from "./dom.js";
import { alongAxes, halfOf, lastTwo, matrixFigure } from "./matrices.js";
import { numberText, valueCard } from "./values.js";

const STAGES = {
  matmul: "scores q k\u1d40",
  mul: "scaled",
  div: "scaled",
  add: "with bias",
  sub: "lowered",
  where: "masked",
  masked_fill: "masked",
  softmax: "softmax: the weights",
};

/** The softmax that is applied to values, and the operations that lead to its scores. */
function pipeline(pass) {
  for (let i = pass.size - 1; i >= 0; --i) {
    if (pass.operation(i) !== "softmax") continue;
    const found = around(pass, i);
    if (found) return found;
  }
  return null;
}

const PASSED_ON = /^(pad|dropout|slice|mul|div|where|masked_fill|reshape|view|contiguous|expand|to|cast)$/;

/** The product with the values: the nearest matmul behind a softmax, which dropout and its like may come before. */
export function productOf(pass, softmax) {
  let nodes = [softmax];
  for (let steps = 0; steps < 8 && nodes.length; ++steps) {
    for (const node of nodes) {
      const product = pass.users[node].find(
        (user) => pass.operation(user) === "matmul" && pass.sources(user)[0] === node,
      );
      if (product !== undefined) return product;
    }
    nodes = nodes.flatMap((node) => pass.users[node]).filter((user) => PASSED_ON.test(pass.operation(user)));
  }
  return pass.users[softmax].flatMap((user) => pass.users[user]).find((user) => pass.operation(user) === "matmul");
}

function around(pass, softmax) {
  const product = productOf(pass, softmax);
  if (product === undefined) return null;
  const { recording } = pass,
    shape = (node) => recording.value(pass.outputs(node)[0])?.shape.join();
  const stages = [softmax];
  for (let node = softmax; stages.length < 12;) {
    const from = pass.sources(node).find((each) => each >= 0 && shape(each) === shape(softmax));
    if (from === undefined || !(pass.operation(from) in STAGES)) break;
    stages.unshift(from);
    node = from;
    if (pass.operation(from) === "matmul") break;
  }
  return { pass, softmax, stages, product };
}

/** The mask of a `where` or masked_fill among the stages. */
function masks(found) {
  return found.stages
    .flatMap((node) => (/^(where|masked_fill)$/.test(found.pass.operation(node)) ? found.pass.node(node).inputs : []))
    .map((input) => found.pass.recording.value(input.value))
    .filter((value) => value?.dtype === "bool" && value.shape.length >= 2);
}

export function attentionOf(state, node) {
  const part = state.recording.parts[node.parts];
  if (/attention/.test(node.operation) && part) {
    const found = pipeline(part);
    return (
      found && { ...found, fused: true, words: [node.inputs[0]?.words, node.inputs[1]?.words ?? node.inputs[2]?.words] }
    );
  }
  if (node.operation !== "softmax") return null;
  const found = around(state.pass, node.index);
  if (!found) return null;
  const other = state.pass.node(found.product).inputs[1];
  return { ...found, fused: false, words: [null, other?.words ?? node.inputs[0]?.words] };
}

/** Whether an operation lies a few steps before a node: additive attention's scores are v tanh(W q + U k). */
function madeBy(pass, node, operation, steps = 6) {
  return (
    steps > 0 &&
    pass
      .sources(node)
      .some((from) => from >= 0 && (pass.operation(from) === operation || madeBy(pass, from, operation, steps - 1)))
  );
}

/** Rows are positions: of [b, n, h, d] as of [b, h, n, d]. */
function headOf(value, prefix, length) {
  const { shape } = value;
  if (shape.length === 4 && shape[1] === length && shape[2] !== length)
    return alongAxes(value, 1, 3, [prefix[0], 0, prefix[1], 0]);
  return lastTwo(value, prefix);
}

export function attentionView(state, node, width) {
  const found = attentionOf(state, node);
  if (!found || !state.computed(node.index)) return null;
  const { pass, softmax } = found,
    { recording } = pass;
  const weights = recording.value(pass.outputs(softmax)[0]);
  if (!weights || weights.shape.length < 2 || weights.size === 0) return null;
  const title = !found.fused && madeBy(pass, softmax, "tanh") ? "Alignment" : "Attention";
  if (!weights.whole) return view(title, () => pictureOnly(weights, width));
  return view(title, (redraw) => draw(state, node, found, weights, width, redraw));
}

/** Weights whose elements are not in the page. */
function pictureOnly(weights, width) {
  return [
    h(
      "p",
      { class: "note" },
      "The weights are summarised: their elements do not fit in this page, or were not recorded, so heads and ",
      "positions can not be told apart here. A larger limit of bytes keeps them.",
    ),
    valueCard("softmax: the weights", weights, { kind: "forward", width: width - 34 }),
  ];
}

function draw(state, node, found, weights, width, redraw) {
  const { pass, softmax } = found,
    { recording } = pass,
    prefixShape = weights.shape.slice(0, -2);
  const key = `${node.operation}${weights.shape}`;
  const prefix = prefixShape.map((n, i) => choiceOf(`${key}${i}`, n));
  const names =
    prefixShape.length === 1
      ? ["example"]
      : prefixShape.length === 2
        ? ["example", "head"]
        : prefixShape.map((_, i) => `axis ${i}`);
  const [rows, columns] = weights.shape.slice(-2),
    row = choiceOf(`${key}row`, rows);
  const rowNames =
    found.words[0]?.length === rows
      ? found.words[0]
      : found.words[1]?.length === rows && rows === columns
        ? found.words[1]
        : undefined;
  const columnNames =
    found.words[1]?.length === columns ? found.words[1] : rowNames?.length === columns ? rowNames : undefined;
  const half = halfOf(width);
  const pick = {
    onchoose: (i) => {
      choose(`${key}row`, i);
      redraw();
    },
    chosen: [row, -1],
  };
  const square = (title, value, more = {}) =>
    value
      ? matrixFigure(title, lastTwo(value, prefix), {
          width: half,
          rowNames,
          columnNames,
          kind: "forward",
          ...pick,
          ...more,
        })
      : null;
  const operand = (title, input, names_, more = {}) => {
    const value = recording.value(input);
    return value
      ? matrixFigure(title, headOf(value, prefix, rowNames?.length ?? (title.startsWith("queries") ? rows : columns)), {
          width: half,
          rowNames: names_,
          kind: "forward",
          ...more,
        })
      : null;
  };
  const inputs = found.fused ? node.inputs : [];
  const own = state.pass.recording;
  const head = (title, k, names_) => (inputs[k] ? operand(title, inputs[k].value, names_) : null);
  const stages = found.stages.map((each, i) =>
    square(
      i === 0 && pass.operation(each) !== "matmul" && pass.operation(each) !== "softmax"
        ? `scores (${pass.operation(each)})`
        : (STAGES[pass.operation(each)] ?? pass.operation(each)),
      own.value(pass.outputs(each)[0]),
    ),
  );
  if (stages.length === 1) stages.unshift(square("scores", own.value(pass.node(softmax).inputs[0]?.value)));
  const maskFigures = masks(found).map((mask, i) =>
    square(i ? `mask ${i + 1}` : "mask: what is hidden", mask, { most: 1 }),
  );
  const output = own.value(found.fused ? node.outputs[0] : pass.outputs(found.product)[0]);
  return [
    h(
      "div",
      { class: "choices" },
      prefixShape.map((n, i) => choice(names[i], `${key}${i}`, n, redraw)),
    ),
    h(
      "div",
      { class: "steps" },
      head("queries q", 0, rowNames),
      head("keys k", 1, columnNames),
      stages.slice(0, -1),
      maskFigures,
      stages.at(-1),
      head("values v", 2, columnNames),
    ),
    strongest(weights, prefix, row, rowNames, columnNames),
    output
      ? h(
          "div",
          { class: "steps" },
          matrixFigure("weighted sum: the output", headOf(output, prefix, rows), {
            width: half,
            rowNames,
            kind: "forward",
            chosen: [row, -1],
          }),
        )
      : null,
    back(state, node, found, prefix, { width: half, rowNames, columnNames, kind: "gradient", ...pick }),
  ];
}

/** What the chosen query attends to, the most first. */
function strongest(weights, prefix, row, rowNames, columnNames) {
  const { columns, position } = lastTwo(weights, prefix);
  const all = Array.from({ length: columns }, (_, j) => [Number(weights.at(position(row, j))), j])
    .sort((a, b) => b[0] - a[0])
    .slice(0, 5);
  return h(
    "div",
    {},
    h("h4", {}, `${rowNames ? `"${rowNames[row]}"` : `Position ${row}`} takes from`),
    h(
      "ol",
      { class: "weights" },
      all.map(([x, j]) => {
        const bar = h("span", { class: "bar", "aria-hidden": "true" });
        bar.style.width = `${100 * x || 0}%`;
        return h("li", {}, h("span", {}, columnNames?.[j] ?? `position ${j}`), bar, numberText(x, weights.dtype, 9));
      }),
    ),
    h("p", { class: "hint quiet" }, "Click a row of a matrix, or press Enter on it, to choose the position."),
  );
}

/** The gradients of weights and scores, once the backward pass has come by. */
function back(state, node, found, prefix, options) {
  if (!state.stepped(node.index)) return null;
  const step = found.pass.stepAt(found.softmax),
    { recording } = found.pass;
  if (!step) return null;
  const figure = (title, value) => (value ? matrixFigure(title, lastTwo(value, prefix), options) : null);
  return h(
    "div",
    { class: "steps" },
    figure("gradient of the weights", recording.value(step.received[0])),
    figure("gradient of the scores", recording.value(step.sent[0])),
  );
}

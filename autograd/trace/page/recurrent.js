// A recurrent net's steps unrolled: what each gate and state was at each step, and the gradient that came back there.
// The numbers are those of the composed form, in which every step is on the tape.

import { choice, choiceOf, view } from "./choices.js";
import { h } from "./dom.js";
import { alongAxes, fromColumns, halfOf, matrixFigure } from "./matrices.js";
import { count } from "./numbers.js";

/** The nodes of each step: [first, last] of step t, found by who takes the t-th part of the input. */
function stepsOf(part) {
  const unbind = Array.from({ length: part.size }, (_, i) => i).find((i) => part.operation(i) === "unbind");
  if (unbind === undefined) return null;
  const uses = new Map(); // slot -> the node that takes it
  for (const user of part.users[unbind])
    for (const input of part.node(user).inputs)
      if (input.node === unbind && !uses.has(input.slot)) uses.set(input.slot, user);
  const order = [...uses.entries()].sort((a, b) => a[1] - b[1]);
  if (order.length === 0) return null;
  const period = order.length > 1 ? order[1][1] - order[0][1] : 0;
  return { slots: order.map(([slot]) => slot), nodes: order.map(([, node]) => node), period };
}

/** What the k-th node after the first use is called; LSTM and GRU by their own names. */
function namesOf(operation, part, first, length) {
  const names = new Map(),
    seen = {};
  const gates = {
    lstm: { sigmoid: ["input gate i", "forget gate f", "output gate o"], tanh: ["candidate g", "tanh c"] },
    gru: { sigmoid: ["reset gate r", "update gate z"], tanh: ["candidate n"] },
    rnn: { tanh: ["state h"], relu: ["state h"] },
  }[operation];
  for (let k = 0; k < length; ++k) {
    const name = part.operation(first + k),
      at = seen[name] ?? 0;
    seen[name] = at + 1;
    if (gates?.[name]?.[at]) names.set(k, gates[name][at]);
  }
  return order(operation, part, first, length, names);
}

/** The cell's state: an LSTM's c is what the second tanh is of, h what its output gate multiplies. */
function order(operation, part, first, length, names) {
  for (const [k, name] of [...names]) {
    if (name === "tanh c") {
      const from = part.sources(first + k)[0];
      if (from >= first) names.set(from - first, "cell c");
      const h_ = part.users[first + k].find((user) => part.operation(user) === "mul");
      if (h_ !== undefined && h_ < first + length) names.set(h_ - first, "state h");
    }
  }
  if (operation === "gru") {
    for (let k = length - 1; k >= 0; --k)
      if (part.operation(first + k) === "add") {
        names.set(k, "state h");
        break;
      }
  }
  return [...names].sort((a, b) => a[0] - b[0]);
}

export function recurrentView(state, node, width) {
  if (!/^(lstm|gru|rnn|recurrent)$/.test(node.operation) || !state.computed(node.index)) return null;
  const part = state.recording.parts[node.parts];
  const output = state.recording.value(node.outputs[0]);
  if (output?.shape.length !== 3) return null;
  return view(`${count(output.shape[0], "step")}, unrolled`, (redraw) =>
    draw(state, node, part, output, width, redraw),
  );
}

function draw(state, node, part, output, width, redraw) {
  const [steps, batch, units] = output.shape,
    key = `rnn${output.shape}`,
    example = choiceOf(key, batch);
  const step = state.stepped(node.index) ? state.pass.stepAt(node.index) : null;
  const half = halfOf(width),
    columnNames = Array.from({ length: steps }, (_, t) => `t=${t}`);
  const words = node.inputs[0]?.words?.length === steps ? node.inputs[0].words : columnNames;
  const head = [
    h("div", { class: "choices" }, choice("example", key, batch, redraw)),
    h("p", { class: "note" }, "Columns are steps in time, rows are units."),
  ];
  const found = part && stepsOf(part);
  const whole = (value) => value?.whole && value.shape.length === 2 && value.shape[0] === batch;
  const figures = [];
  if (found && found.nodes.length === steps) {
    const first = found.nodes[0],
      length = found.period || part.size - first;
    for (const [k, name] of namesOf(node.operation, part, first, length)) {
      const times = found.slots
        .map((slot, i) => [slot, found.nodes[i] + k])
        .sort((a, b) => a[0] - b[0])
        .map(([, at]) => at);
      const values = times.map((at) => (at < part.size ? state.recording.value(part.outputs(at)[0]) : null));
      if (!values.every(whole)) continue;
      figures.push(
        pair(name, values, step && times.map((at) => state.recording.value(part.stepAt(at)?.received[0])), {
          example,
          half,
          words,
          whole,
          onchoose: (t) => open(state, part, times[t]),
        }),
      );
    }
  }
  if (figures.length === 0 && output.whole) {
    figures.push(
      matrixFigure("state h at each step", alongAxes(output, 2, 0, [0, example, 0]), {
        width: half,
        columnNames: words,
        kind: "forward",
      }),
    );
    const received = step && state.recording.value(step.received[0]);
    if (received?.whole)
      figures.push(
        matrixFigure("gradient that came to h from outside", alongAxes(received, 2, 0, [0, example, 0]), {
          width: half,
          columnNames: words,
          kind: "gradient",
        }),
      );
  }
  return [
    head,
    figures.map((each) => h("div", { class: "steps" }, each)),
    figures.length && found
      ? h("p", { class: "hint quiet" }, "Enter or a click on a column opens that step in the composed parts.")
      : null,
    units > 0 ? null : h("p", {}, "no units"),
  ];
}

/** A quantity over time, and the gradient that came to it. */
function pair(name, values, gradients, { example, half, words, whole, onchoose }) {
  const most = (all) =>
    all.reduce((m, value) => Math.max(m, Math.abs(value.summary.min), Math.abs(value.summary.max)), 0) || 1;
  const units = values[0].shape[1];
  const columns = (all) =>
    fromColumns(
      all.map((value) => ({ value, position: (i) => example * units + i })),
      units,
    );
  const options = { width: half, columnNames: words, onchoose: (_, t) => onchoose(t) };
  return [
    matrixFigure(name, columns(values), { ...options, kind: "forward", most: most(values) }),
    gradients?.every(whole)
      ? matrixFigure(`gradient of ${name}`, columns(gradients), { ...options, kind: "gradient", most: most(gradients) })
      : null,
  ];
}

function open(state, part, node) {
  if (state.stepInto()) state.select(node);
}

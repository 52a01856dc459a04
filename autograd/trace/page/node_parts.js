// What the inspector says of a node's values and gradients: what it took and made, what came back and went on.

import { h, mathml } from "./dom.js";
import { brief, count, exact, shapeText, tidy } from "./numbers.js";
import { formula, parse, statements, typeset } from "./rules.js";
import { slotName } from "./slots.js";
import { numberText, valueCard } from "./values.js";

export class NodeParts {
  constructor(state) {
    this.state = state;
    this.closed = new Set(); // titles of the parts that are folded
    this.width = 420;
  }

  section(title, kind, ...children) {
    if (children.flat().every((child) => !child)) return null;
    const element = h(
      "details",
      {
        class: `part ${kind}`,
        "data-part": title.match(/^\w+?(?=s?\b)/)?.[0], // alike of all nodes: "Value", "Values: inputs to output"
        open: !this.closed.has(title),
        ontoggle: () => {
          element.open ? this.closed.delete(title) : this.closed.add(title);
        },
      },
      h("summary", {}, h("h3", {}, title)),
      children,
    );
    return element;
  }

  names(node) {
    return node.inputs.map((input) => input.name);
  }

  // ---- forward

  values(node) {
    const { state } = this,
      { recording, pass } = state;
    const card = (title, value, more = {}) =>
      valueCard(title, recording.value(value), { kind: "forward", width: this.width, ...more });
    if (!state.computed(node.index))
      return this.section(
        "Values",
        "forward",
        h("p", { class: "quiet" }, "Not computed yet at this point of the timeline."),
      );
    const from = (input) => (input.node < 0 ? "a constant" : slotName(pass, input.node, input.slot));
    const inputs = node.inputs
      .filter((input) => input.value >= 0 || input.node >= 0)
      .map((input) =>
        card(`${input.name || "input"} \u2190 ${from(input)}`, input.value, {
          absent: "not recorded",
          ...this.wordsFor(input),
        }),
      );
    const outputs = node.outputs.map((value, slot) =>
      card(
        node.leaf ? "value" : node.outputs.length > 1 ? `output ${slotName(pass, node.index, slot)}` : "y, its output",
        value,
        this.chooser(value),
      ),
    );
    const used = new Set([...node.inputs.map((input) => input.value), ...node.outputs]);
    const saved = node.saved
      .filter((each) => each.value >= 0 && !used.has(each.value))
      .map((each) => card(`kept for the backward pass: ${each.name}`, each.value));
    return this.section(node.leaf ? "Value" : "Values: inputs to output", "forward", inputs, outputs, saved);
  }

  wordsFor(input) {
    if (!input.words) return {};
    const value = this.state.recording.value(input.value),
      n = input.words.length;
    if (!value) return {};
    return value.shape.at(-2) === n
      ? { rowNames: input.words }
      : value.shape.at(-1) === n
        ? { columnNames: input.words }
        : {};
  }

  chooser(value) {
    const tensor = this.state.recording.value(value);
    if (!tensor?.whole || tensor.size < 2) return {};
    return { onchoose: (index) => this.state.choose(index), chosen: this.state.element };
  }

  // ---- backward

  gradients(node, step) {
    const { state } = this,
      { recording, pass } = state;
    if (!step)
      return this.section(
        "Gradients",
        "gradient",
        h(
          "p",
          { class: "quiet" },
          "No gradient came here: nothing that the pass began with depends on it, or the pass ended before.",
        ),
      );
    if (!state.stepped(node.index))
      return this.section(
        "Gradients",
        "gradient",
        h(
          "p",
          { class: "quiet" },
          `Its step is ${pass.stepOf[node.index] + 1} of ${pass.steps}; `,
          h(
            "button",
            {
              type: "button",
              class: "link",
              "data-key": "to its backward step",
              onclick: () => state.goTo(pass.size + pass.stepOf[node.index] + 1),
            },
            "go there",
          ),
        ),
      );
    const card = (title, value, more = {}) =>
      valueCard(title, recording.value(value), {
        kind: "gradient",
        width: this.width,
        ...this.chooser(value),
        ...more,
      });
    const received = step.received.map((value, slot) =>
      card(step.received.length > 1 ? `incoming dy of ${slotName(pass, node.index, slot)}` : "incoming dy", value, {
        absent: "none came to this output",
      }),
    );
    if (node.leaf) return this.section("Gradient", "gradient", received);
    const sent = node.inputs.flatMap((input, k) =>
      step.sent[k] >= 0 ? [this.outgoing(node, step, input, k, card)] : [],
    );
    return this.section(
      "Gradients: incoming \u00d7 local \u2192 outgoing",
      "gradient",
      received,
      sent.length ? sent : h("p", { class: "quiet" }, "It sent none on."),
    );
  }

  outgoing(node, step, input, k, card) {
    const { recording, pass } = this.state;
    const returned = recording.value(step.returned[k]),
      sent = recording.value(step.sent[k]);
    const summed = returned && sent && shapeText(returned.shape) !== shapeText(sent.shape);
    const local = statements(parse(node.rule, this.names(node))).find(([name]) => name === `d${input.name}`);
    const to = input.node < 0 ? "nobody" : slotName(pass, input.node, input.slot);
    return h(
      "div",
      { class: "outgoing" },
      h(
        "div",
        { class: "local" },
        h("span", { class: "arrow", "aria-hidden": "true" }, "\u2193"),
        local?.[1]
          ? formula(
              mathml("mi", { mathvariant: "normal" }, "d"),
              mathml("mi", {}, input.name),
              mathml("mo", {}, "="),
              typeset(local[1]),
            )
          : h("span", { class: "quiet" }, input.rule || "by the rule above"),
      ),
      summed ? card(`d${input.name} where it was broadcast`, step.returned[k]) : null,
      summed
        ? h(
            "p",
            { class: "note" },
            `Broadcasting is undone: summed from ${shapeText(returned.shape)} to ${shapeText(sent.shape)}.`,
          )
        : null,
      card(`outgoing d${input.name} \u2192 ${to}`, step.sent[k]),
    );
  }

  contributions(step) {
    if (!step?.arrivals.length || !this.state.backward) return null;
    const { state } = this,
      { recording, pass } = state;
    const size = (value) => (value?.scalar ? Math.abs(Number(value.at(0))) : value ? value.stats.norm : 0);
    const most = Math.max(
      1e-300,
      ...step.arrivals.map((arrival) => size(recording.value(arrival.value))).filter(Number.isFinite),
    );
    const number = (value) =>
      !value
        ? ""
        : value.scalar
          ? numberText(value.at(0), value.dtype)
          : h(
              "span",
              { title: `norm ${exact(value.stats.norm)}` },
              h("i", {}, "\u2016\u2016 "),
              tidy(brief(value.stats.norm, "float64", 9)),
            );
    const rows = step.arrivals.map((arrival) => {
      const value = recording.value(arrival.value),
        come = state.arrived(arrival);
      const name =
        arrival.from < 0 ? "the beginning of the pass" : `${pass.label(arrival.from)} ${pass.operation(arrival.from)}`;
      const slot = pass.outputs(step.node).length > 1 ? `, to ${slotName(pass, step.node, arrival.slot)}` : "";
      const bar = h("span", { class: "bar", "aria-hidden": "true" });
      bar.style.width = `${Math.min(100, (100 * size(value)) / most) || 0}%`;
      return h(
        "tr",
        { class: come ? "" : "later" },
        h("td", {}, `${arrival.k} of ${arrival.n}${slot}`),
        h(
          "th",
          { scope: "row" },
          arrival.from < 0
            ? name
            : h("button", { type: "button", class: "link", onclick: () => state.select(arrival.from) }, name),
        ),
        h("td", { class: "amount" }, come ? number(value) : "not yet", come ? bar : null),
        h("td", { class: "amount" }, come ? number(recording.value(arrival.sum)) : ""),
      );
    });
    return this.section(
      `Contributions: ${count(step.arrivals.length, "gradient")} ${step.arrivals.length === 1 ? "came" : "add up"}`,
      "gradient",
      h(
        "table",
        { class: "contributions" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["k of n", "from", "gradient", "sum so far"].map((name) => h("th", { scope: "col" }, name)),
          ),
        ),
        h("tbody", {}, rows),
      ),
    );
  }

  accumulators(node, step) {
    const { state } = this,
      { pass, recording } = state;
    const parts = [];
    if (step && state.stepped(node.index))
      for (const change of step.grads) {
        const more = { kind: "gradient", width: this.width, absent: "undefined" };
        parts.push(
          h(
            "p",
            { class: "note" },
            change.before < 0
              ? "grad() was undefined and became this gradient."
              : "This gradient was added to what grad() held before.",
          ),
          change.before >= 0 ? valueCard("grad() before", recording.value(change.before), more) : null,
          valueCard("grad() after", recording.value(change.after), more),
        );
      }
    const update = state.position === state.length ? pass.updates.find((each) => each.node === node.index) : null;
    if (update)
      parts.push(
        h("h4", {}, "The optimiser's update"),
        h("p", { class: "note" }, "|change| / |parameter| = ", numberText(update.ratio, "float64", 12)),
        valueCard("change", recording.value(update.change), { width: this.width }),
        valueCard("parameter after", recording.value(update.after), { kind: "forward", width: this.width }),
      );
    return this.section("Accumulated in grad()", "gradient", parts);
  }

  check(node) {
    if (!node.check) return null;
    const wrong = node.check.startsWith("wrong");
    return this.section("Check by finite differences", "rule", h("p", { class: wrong ? "wrong" : "right" }, node.check));
  }
}

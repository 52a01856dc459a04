// The chosen node: its views, its rule, with numbers, its line, and its values and gradients.

import { h, mathml, show } from "./dom.js";
import { attentionView } from "./attention.js";
import { environment, withNumbers } from "./evaluate.js";
import { lshView } from "./lsh.js";
import { NodeParts } from "./node_parts.js";
import { count, exact, tidy } from "./numbers.js";
import { recurrentView } from "./recurrent.js";
import { formula, parse, statements, typeset } from "./rules.js";

export class Inspector extends NodeParts {
  constructor(state) {
    super(state);
    this.element = h("section", {
      class: "panel inspector",
      id: "panel-node",
      role: "tabpanel",
      "aria-labelledby": "tab-node",
      tabindex: "-1",
    });
    this.shown = null;
    state.subscribe(() => this.later());
    this.draw();
  }

  /** Once a frame, however fast the timeline plays. */
  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    if (this.element.hidden) return;
    const { state } = this,
      { pass, selected } = state;
    if (!pass || selected < 0) {
      show(
        this.element,
        h(
          "p",
          { class: "empty" },
          pass
            ? "No node is chosen."
            : "This recording has no backward pass: nothing was traced, or the program ended before one began.",
        ),
      );
      return;
    }
    const focused = this.focusKey(document.activeElement);
    const key = `${state.trail.length} ${state.passIndex} ${selected}`;
    const same = this.shown === key,
      top = this.element.scrollTop;
    this.shown = key;
    const node = pass.node(selected),
      step = pass.stepAt(selected);
    this.width = Math.max(240, Math.min(720, this.element.clientWidth - 48 || 420));
    show(
      this.element,
      this.header(node, step),
      this.passError(),
      lshView(state, node, this.width),
      attentionView(state, node, this.width),
      recurrentView(state, node, this.width),
      this.rule(node, step),
      this.source(node),
    );
    // Of another node the lower half may come a frame later: a step has to be quick.
    const turn = {};
    this.turn = turn;
    const rest = () => {
      if (this.turn !== turn) return;
      const lower = [
        this.values(node),
        this.gradients(node, step),
        this.contributions(step),
        this.accumulators(node, step),
        this.check(node),
      ];
      this.element.append(...lower.filter(Boolean));
      if (top > 0) this.element.scrollTop = same ? top : 0;
      if (focused !== null) this.focusAgain(focused);
    };
    same || focused !== null ? rest() : requestAnimationFrame(rest);
  }

  /** What the focused element of this panel is called, so that its like can have the focus when all is drawn again. */
  focusKey(element) {
    if (!element || element === this.element || !this.element.contains(element)) return null;
    if (element.tagName === "SUMMARY") return `part ${element.parentElement.dataset.part}`;
    return element.dataset.key ?? element.getAttribute("aria-label") ?? element.textContent;
  }

  /** Where its like is gone, the panel has the focus: keys go on from here and not from the top of the page. */
  focusAgain(key) {
    const like = [...this.element.querySelectorAll("[aria-label], [tabindex], button, input, select, summary")].find(
      (each) => this.focusKey(each) === key && each.checkVisibility(),
    );
    (like ?? this.element).focus({ preventScroll: true });
  }

  header(node, step) {
    const { state } = this,
      { pass } = state;
    const at = pass.stepOf[node.index];
    const goTo = (text, position, key) =>
      h("button", { type: "button", class: "link", "data-key": key, onclick: () => state.goTo(position) }, text);
    const part = state.recording.parts[node.parts];
    return h(
      "header",
      {},
      h(
        "p",
        { class: "path" },
        node.module
          ? node.module.split(".").flatMap((name, i) => [i ? h("span", { class: "quiet" }, " › ") : null, name])
          : "outside of modules",
      ),
      h(
        "h2",
        {},
        node.label || `%${node.index}`,
        h("span", { class: "operation" }, node.leaf ? "leaf" : node.operation),
      ),
      h(
        "p",
        { class: "when" },
        goTo(`forward ${node.index + 1} of ${pass.size}`, node.index + 1, "to its forward step"),
        " · ",
        step
          ? goTo(`backward ${at + 1} of ${pass.steps}`, pass.size + at + 1, "to its backward step")
          : h("span", { class: "quiet" }, "no gradient reached it"),
        node.leaf ? null : ` · operation ${node.sequence} of the program`,
      ),
      node.arguments.length
        ? h(
            "p",
            { class: "arguments" },
            node.arguments.map(([name, text], i) => [
              i ? ", " : "",
              name ? h("span", { class: "quiet" }, `${name} = `) : null,
              h("code", {}, text ?? ""),
            ]),
          )
        : null,
      part
        ? h(
            "button",
            {
              type: "button",
              class: "into",
              id: "step-into",
              "data-key": "step into",
              "aria-keyshortcuts": "s",
              onclick: () => state.stepInto(),
            },
            `Step into its ${count(part.size, "composed part")}`,
            h("kbd", {}, "s"),
          )
        : null,
    );
  }

  passError() {
    const { error } = this.state.pass;
    return error
      ? h("p", { class: "error", role: "note" }, h("b", {}, "The backward pass ended early: "), error)
      : null;
  }

  // ---- formula

  /** The gradient of input k as the rule left it: where it was broadcast, not summed yet. */
  result(step, k) {
    return this.state.recording.value(step?.returned[k] >= 0 ? step.returned[k] : step?.sent[k]);
  }

  rule(node, step) {
    if (!node.rule) return null;
    const { state } = this,
      known = step && state.stepped(node.index);
    const tree = parse(node.rule, this.names(node));
    const symbolic = formula(typeset(tree));
    symbolic.setAttribute("aria-label", node.rule);
    const lines = [h("div", { class: "formula", title: node.rule }, symbolic)];
    if (known) {
      const env = environment(state.pass, node, step);
      const targets = new Map(statements(tree));
      node.inputs.forEach((input, k) => {
        const name = `d${input.name}`,
          result = this.result(step, k);
        if (!result?.whole || result.size === 0 || !input.differentiable) return;
        lines.push(
          this.numbers(
            tree,
            targets.has(name) || targets.size !== 1 ? name : [...targets.keys()][0],
            name,
            env,
            result,
          ),
        );
      });
      if (lines.length > 1)
        lines.push(
          h(
            "p",
            { class: "quiet hint" },
            "Click an element of a matrix below, or press Enter on it, to put its numbers in.",
          ),
        );
    }
    return this.section("Rule", "rule", lines);
  }

  numbers(tree, target, name, env, result) {
    const index =
      this.state.element?.length === result.shape.length && this.state.element.every((x, i) => x < result.shape[i])
        ? this.state.element
        : result.shape.map(() => 0);
    const put = withNumbers(tree, target, env, result, index);
    let position = 0;
    result.shape.forEach((n, i) => {
      position = position * n + index[i];
    });
    const x = result.at(position),
      text = exact(x, result.dtype);
    const left = mathml("mrow", {}, mathml("mi", { mathvariant: "normal" }, "d"), mathml("mi", {}, name.slice(1)));
    const which = index.length ? mathml("msub", {}, left, mathml("mtext", {}, index.join(","))) : left;
    const own = mathml("mn", { class: "own", title: text }, tidy(text));
    return h(
      "div",
      { class: "formula numbers" },
      formula(which, mathml("mo", {}, "="), put ? [put, mathml("mo", {}, "=")] : null, own),
    );
  }

  // ---- source

  source(node) {
    if (!node.site) return null;
    const lines = [];
    const colon = node.site.lastIndexOf(":"),
      file = node.site.slice(0, colon),
      line = Number(node.site.slice(colon + 1));
    const known = this.state.recording.sources[file];
    if (known)
      for (let i = line - 3; i <= line + 3; ++i)
        if (known[i] !== undefined)
          lines.push(
            h(
              "div",
              { class: i === line ? "line here" : "line", "aria-current": i === line ? "location" : null },
              h("span", { class: "line-number" }, i),
              h("code", {}, known[i] || " "),
            ),
          );
    const stack =
      node.stack.length > 1
        ? h(
            "ol",
            { class: "stack", "aria-label": "call stack, outermost first" },
            node.stack.map((call) =>
              h(
                "li",
                {},
                h("b", {}, call.name),
                call.module ? ` ${call.module}` : "",
                h("span", { class: "quiet" }, ` ${call.site}`),
              ),
            ),
          )
        : null;
    return this.section(
      `Source: ${node.site}`,
      "source",
      lines.length
        ? h("div", { class: "code", tabindex: "0", role: "region", "aria-label": "source lines" }, lines)
        : h("p", { class: "quiet" }, "The line's text is not in the recording."),
      stack,
    );
  }
}

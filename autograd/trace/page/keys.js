// Every action by a key, and the list of them.

import { h } from "./dom.js";

/** [keys as shown, what they do, [KeyboardEvent.key...], action]; without an action a widget of its own has them. */
function actions(page) {
  const { state, timeline, tape } = page;
  return [
    ["The timeline"],
    ["n", "the next step", ["n"], () => timeline.step(1)],
    ["b", "one step back", ["b"], () => timeline.step(-1)],
    ["Space", "play, or pause", [" "], () => timeline.toggle(1)],
    ["r", "rewind step by step, or pause", ["r"], () => timeline.toggle(-1)],
    ["Shift n", "to the end", ["N"], () => timeline.go(Infinity)],
    ["Shift b", "to the beginning", ["B"], () => timeline.go(0)],
    ["m", "to where the backward pass begins", ["m"], () => state.pass && timeline.go(state.pass.size)],
    ["The tape"],
    ["↑ ↓ or k j", "the row above, below"],
    ["← →", "fold, unfold a module"],
    ["Shift f, Shift u", "fold all modules, unfold all", ["F"], () => tape.foldAll(true)],
    [null, null, ["U"], () => tape.foldAll(false)],
    ["t", "to the chosen node's row, unfolding what hides it", ["t"], () => tape.reveal()],
    ["/", "find a node by name, operation, module or number", ["/"], () => page.find.focus()],
    ["s", "step into the composed parts of a fused operation", ["s"], () => state.stepInto() && tape.scroller.focus()],
    ["f", "finish: out of the parts again", ["f"], () => state.stepOut() && tape.scroller.focus()],
    ["The panels"],
    ["1 2 3", "the node, the graph, the training", ["1"], () => page.openTab("node", true)],
    [null, null, ["2"], () => page.openTab("graph", true)],
    [null, null, ["3"], () => page.openTab("training", true)],
    ["arrow keys", "in a matrix: read its elements; in the graph: go along its lines"],
    ["Enter", "in a matrix: put the element's numbers into the formula; in the graph: open a module, choose a node"],
    ["Backspace", "in the graph: out of the module"],
    ["[ ]", "the recorded pass before, after", ["["], () => state.openPass(state.passIndex - 1)],
    [null, null, ["]"], () => state.openPass(state.passIndex + 1)],
    ["d", "dark or light", ["d"], () => page.toggleTheme()],
    ["?", "this list", ["?"], () => page.help.open()],
    ["Tab, Shift Tab", "the next control, the one before"],
    ["Esc", "back to the tape"],
  ];
}

export class Help {
  constructor(page) {
    this.all = actions(page);
    this.dialog = h(
      "dialog",
      { class: "help", "aria-labelledby": "help-title" },
      h(
        "header",
        {},
        h("h2", { id: "help-title" }, "Keys"),
        h(
          "button",
          {
            type: "button",
            class: "plain",
            id: "help-close",
            "aria-label": "Close",
            onclick: () => this.dialog.close(),
          },
          "×",
        ),
      ),
      h(
        "dl",
        {},
        this.all
          .filter(([keys]) => keys)
          .map(([keys, does]) =>
            does === undefined
              ? h("dt", { class: "title" }, keys)
              : h(
                  "div",
                  {},
                  h(
                    "dt",
                    {},
                    keys
                      .split(/(, | or )/)
                      .map((part) =>
                        /^(, | or )$/.test(part)
                          ? part
                          : part
                              .split(" ")
                              .map((key) => (part === "arrow keys" ? key + " " : [h("kbd", {}, key), " "])),
                      ),
                  ),
                  h("dd", {}, does),
                ),
          ),
      ),
      h(
        "p",
        { class: "quiet" },
        h("i", { class: "swatch forward" }),
        " values, going forward   ",
        h("i", { class: "swatch gradient" }),
        " gradients, going back",
      ),
    );
    document.addEventListener("keydown", (event) => this.key(event));
  }

  open() {
    this.dialog.showModal();
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || this.dialog.open) return;
    const { target } = event,
      typing = target.matches?.("input[type=text], input[type=search], textarea, select");
    if (event.key === "Escape") {
      document.getElementById("tape")?.focus();
      return;
    }
    if (typing) return;
    if (event.key === " " && target.matches?.("button, summary, [role=button]")) return;
    for (const [, , keys, act] of this.all) {
      if (!keys?.includes(event.key)) continue;
      act();
      event.preventDefault();
      return;
    }
  }
}

// The page: a bar, the tape, the panels beside it, the timeline below.

import { Charts } from "./charts.js";
import { load } from "./data.js";
import { h, say, show } from "./dom.js";
import { Graph } from "./graph.js";
import { Inspector } from "./inspector.js";
import { Help } from "./keys.js";
import { brief, count, tidy } from "./numbers.js";
import { viewedNodes } from "./rows.js";
import { State } from "./state.js";
import { Tape } from "./tape.js";
import { Timeline } from "./timeline.js";

const TABS = [
  ["node", "Node"],
  ["graph", "Graph"],
  ["training", "Training"],
];

class Page {
  constructor(recording) {
    this.recording = recording;
    this.state = new State(recording);
    this.theme();
    this.tape = new Tape(this.state);
    this.timeline = new Timeline(this.state);
    this.inspector = new Inspector(this.state);
    this.graph = new Graph(this.state);
    this.charts = new Charts(this.state);
    this.wide = matchMedia("(min-width: 1500px)");
    this.help = new Help(this);
    this.bar = h("header", { class: "bar" }, this.title(), this.passes(), this.views(), this.trail(), this.search(), this.buttons());
    const panels = { node: this.inspector, graph: this.graph, training: this.charts };
    this.tabs = h(
      "div",
      { class: "tabs", role: "tablist", "aria-label": "Panels", onkeydown: (event) => this.tabKey(event) },
      TABS.map(([name, text], i) =>
        h(
          "button",
          {
            type: "button",
            role: "tab",
            id: `tab-${name}`,
            "aria-controls": `panel-${name}`,
            "aria-keyshortcuts": i + 1,
            onclick: () => this.openTab(name),
          },
          text,
        ),
      ),
    );
    const side = h(
      "div",
      { class: "side" },
      this.tabs,
      h(
        "div",
        { class: "panels" },
        Object.values(panels).map((panel) => panel.element),
      ),
    );
    document.body.append(
      h("a", { class: "skip", href: "#tape" }, "To the tape"),
      this.bar,
      h("main", {}, this.tape.element, side),
      this.timeline.element,
      this.help.dialog,
      h("div", { id: "said", class: "unseen", role: "status", "aria-live": "polite" }),
    );
    this.panels = panels;
    this.openTab("node");
    this.wide.addEventListener("change", () => this.openTab(this.tab));
    this.state.subscribe((what) => {
      if (what === "pass") this.drawTrail();
    });
    this.drawTrail();
    this.tape.changed("pass");
    this.tape.scroller.focus({ preventScroll: true });
  }

  title() {
    const { program, summarised } = this.recording;
    return h(
      "h1",
      { title: summarised ? `${count(summarised, "value")} of this recording are summarised` : null },
      program || "a program",
      summarised ? h("span", { class: "badge" }, `${summarised} summarised`) : null,
    );
  }

  passes() {
    const { passes } = this.recording;
    this.select = h(
      "select",
      { "aria-label": "Backward pass", id: "passes", onchange: () => this.state.openPass(Number(this.select.value)) },
      passes.map((pass, i) =>
        h(
          "option",
          { value: i },
          `pass ${pass.number}`,
          Number.isFinite(pass.loss) ? ` · loss ${tidy(brief(pass.loss, "float64"))}` : "",
          pass.error ? " · failed" : "",
        ),
      ),
    );
    return passes.length ? this.select : null;
  }

  /** The way to nodes that have a view of their own, which may lie deep in folded groups. */
  views() {
    this.viewList = h("select", {
      id: "views",
      "aria-label": "Go to a view: attention, hashing, recurrent nets",
      onchange: () => {
        this.openTab("node");
        this.goToNode(Number(this.viewList.value));
        this.viewList.selectedIndex = 0;
      },
    });
    return this.viewList;
  }

  drawViews() {
    const { pass } = this.state,
      nodes = pass ? viewedNodes(pass).slice(0, 200) : [];
    const name = (node) => [pass.module(node), pass.operation(node), pass.label(node)].filter(Boolean).join(" ");
    this.viewList.hidden = nodes.length === 0;
    show(
      this.viewList,
      h("option", { value: -1 }, "views\u2026"),
      nodes.map((node) => h("option", { value: node }, name(node))),
    );
  }

  trail() {
    this.trailElement = h("nav", { class: "trail", "aria-label": "Composed parts" });
    return this.trailElement;
  }

  drawTrail() {
    const { state } = this;
    this.select.value = state.passIndex;
    this.drawViews();
    show(
      this.trailElement,
      state.trail.slice(1).map(({ pass }, i) => {
        const outer = state.trail[i],
          name = outer.pass.operation(outer.selected);
        return [h("span", { "aria-hidden": "true" }, " › "), h("span", {}, `${name}, composed`)];
      }),
      state.trail.length > 1
        ? h(
            "button",
            {
              type: "button",
              id: "step-out",
              "aria-keyshortcuts": "f",
              onclick: () => {
                state.stepOut();
              },
            },
            "Finish ",
            h("kbd", {}, "f"),
          )
        : null,
    );
    if (state.trail.length > 1) say(`composed parts, ${state.pass.size} nodes`);
  }

  search() {
    this.find = h("input", {
      type: "search",
      id: "find",
      placeholder: "find a node",
      "aria-label": "Find a node by name, operation, module or number",
      "aria-keyshortcuts": "/",
      autocomplete: "off",
      spellcheck: "false",
      onkeydown: (event) => {
        if (event.key !== "Enter") return;
        this.findNext(this.find.value.trim());
        event.preventDefault();
      },
    });
    return this.find;
  }

  findNext(text) {
    const { state } = this,
      { pass } = state;
    if (!pass || text === "") return;
    const number = /^%?\d+$/.test(text) ? Number(text.replace("%", "")) : -1;
    const exactly = (node) => [pass.label(node), pass.operation(node)].includes(text);
    const matches = (node) =>
      [pass.label(node), pass.operation(node), pass.module(node)].some((each) =>
        each.toLowerCase().includes(text.toLowerCase()),
      );
    let found = number >= 0 && number < pass.size ? number : -1;
    for (const wanted of [exactly, matches])
      for (let i = 1; found < 0 && i <= pass.size; ++i)
        if (wanted((state.selected + i) % pass.size)) found = (state.selected + i) % pass.size;
    this.find.setAttribute("aria-invalid", String(found < 0));
    if (found < 0) {
      say(`nothing is called ${text}`);
      return;
    }
    this.goToNode(found);
  }

  goToNode(node) {
    const { pass } = this.state;
    if (!pass || node < 0) return;
    this.state.select(node);
    this.tape.model.reveal(node);
    this.tape.changed("selected");
    say(`${pass.label(node)}, ${pass.operation(node)}`);
  }

  buttons() {
    return h(
      "div",
      { class: "buttons" },
      h(
        "button",
        {
          type: "button",
          id: "theme",
          "aria-label": "Dark or light",
          title: "Dark or light (d)",
          "aria-keyshortcuts": "d",
          onclick: () => this.toggleTheme(),
        },
        h("span", { class: "icon theme", "aria-hidden": "true" }),
      ),
      h(
        "button",
        {
          type: "button",
          id: "keys",
          "aria-label": "Keys",
          title: "Keys (?)",
          "aria-keyshortcuts": "?",
          onclick: () => this.help.open(),
        },
        "?",
      ),
    );
  }

  openTab(name, focus = false) {
    this.tab = name === "graph" && this.wide.matches ? (this.tab ?? "node") : name;
    if (this.tab === "graph" && this.wide.matches) this.tab = "node";
    for (const [each] of TABS) {
      const on = each === this.tab,
        tab = this.tabs.querySelector(`#tab-${each}`);
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
      this.panels[each].element.hidden = !on && !(each === "graph" && this.wide.matches);
    }
    if (this.tab === "training") this.charts.draw();
    if (this.tab === "node") this.inspector.draw();
    if (this.tab === "graph" || this.wide.matches) this.graph.draw();
    if (focus) this.panels[name].element.focus({ preventScroll: true });
  }

  tabKey(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const names = TABS.map(([name]) => name).filter((name) => name !== "graph" || !this.wide.matches);
    this.openTab(names[(names.indexOf(this.tab) + by + names.length) % names.length]);
    this.tabs.querySelector(`#tab-${this.tab}`).focus();
    event.preventDefault();
  }

  // ---- light and dark

  theme() {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const set = () => {
      document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
    };
    set();
    dark.addEventListener("change", () => {
      set();
      this.redraw();
    });
  }

  toggleTheme() {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    this.redraw();
    say(root.dataset.theme);
  }

  redraw() {
    this.inspector.draw();
    this.tape.draw();
  }
}

document.getElementById("unready")?.remove();
let recording;
try {
  recording = load();
} catch (error) {
  document.body.append(
    h(
      "p",
      { class: "error" },
      `This page's recording can not be read: ${error.message}. The file may have been cut off.`,
    ),
  );
}
// For the browser's console: attune.recording.value(3).data, attune.state.goTo(10).
if (recording) {
  globalThis.attune = new Page(recording);
  // Milliseconds until the first picture.
  requestAnimationFrame(() =>
    setTimeout(() => {
      globalThis.attune.usable = performance.now();
    }),
  );
}

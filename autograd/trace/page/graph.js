// The graph of the module that is open, as Graphviz placed it when the page was written.

import { h, say, show, svg } from "./dom.js";
import { count } from "./numbers.js";

const RAILS = "The rails beside the tape show the same lines.";
const NODE = 0,
  MODULE = 1;

export class Graph {
  constructor(state) {
    this.state = state;
    this.open = "";
    this.element = h("section", {
      class: "panel graph",
      id: "panel-graph",
      role: "tabpanel",
      "aria-labelledby": "tab-graph",
      tabindex: "-1",
    });
    state.subscribe((what) => {
      if (what !== "element") this.follow(what);
    });
    this.follow("pass");
  }

  /** Opens the module of the chosen node, once somebody looks. */
  follow() {
    const { pass, selected } = this.state;
    this.stale = pass !== null && selected >= 0;
    this.later();
  }

  catchUp() {
    if (!this.stale) return;
    this.stale = false;
    const { pass, selected } = this.state;
    this.open = this.levelOf(pass.module(selected));
    if (!pass.leaf(selected)) return;
    const has = (path) => pass.level(path)?.boxes?.some((box) => box[0] === NODE && box[2] === selected);
    if (!has(this.open) && has("")) this.open = "";
  }

  levelOf(path) {
    while (path !== "" && !this.state.pass.levels.has(path))
      path = path.includes(".") ? path.slice(0, path.lastIndexOf(".")) : "";
    return path;
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  enter(path) {
    this.stale = false;
    this.open = this.levelOf(path);
    this.draw();
    say(`${this.open || "whole program"} is open`);
    this.element.querySelector(".graph-box")?.focus();
  }

  draw() {
    const { pass } = this.state;
    if (this.element.hidden) return;
    if (pass) this.catchUp();
    if (!pass) {
      show(this.element, h("p", { class: "empty" }, "There is no graph: nothing was recorded."));
      return;
    }
    const level = pass.level(this.open);
    const focused = this.element.contains(document.activeElement) ? document.activeElement.dataset.box : undefined;
    show(this.element, this.path(), level?.boxes ? this.picture(level) : h("p", { class: "empty" }, this.why(level)));
    if (focused !== undefined) this.element.querySelector(`[data-box="${focused}"]`)?.focus({ preventScroll: true });
  }

  why(level) {
    if (!this.state.recording.drawn)
      return `The graph was not drawn: Graphviz (dot) was not there when this page was written. ${RAILS}`;
    return level
      ? `${count(level.size, "box", "boxes")}: too many for a picture. ${RAILS}`
      : "There is no graph of this module.";
  }

  path() {
    const names = this.open === "" ? [] : this.open.split(".");
    const crumbs = [
      h(
        "button",
        { type: "button", class: "link", onclick: () => this.enter("") },
        this.state.recording.program || "program",
      ),
    ];
    names.forEach((name, i) => {
      const path = names.slice(0, i + 1).join(".");
      crumbs.push(
        h("span", { class: "quiet" }, " › "),
        this.state.pass.levels.has(path) && path !== this.open
          ? h("button", { type: "button", class: "link", onclick: () => this.enter(path) }, name)
          : h("span", {}, name),
      );
    });
    return h("nav", { class: "crumbs", "aria-label": "Open module" }, crumbs, this.siblings(names));
  }

  /** Blocks that are repeated: buttons for each. */
  siblings(names) {
    if (!/^\d+$/.test(names.at(-1) ?? "")) return null;
    const prefix = names.slice(0, -1).join(".");
    const all = [...this.state.pass.levels.keys()].filter(
      (path) => path.startsWith(`${prefix}.`) && /^\d+$/.test(path.slice(prefix.length + 1)),
    );
    if (all.length < 2) return null;
    return h(
      "span",
      { class: "siblings", role: "group", "aria-label": "Repeated blocks" },
      all.map((path) =>
        h(
          "button",
          { type: "button", "aria-pressed": String(path === this.open), onclick: () => this.enter(path) },
          path.slice(prefix.length + 1),
        ),
      ),
    );
  }

  holds(box, node) {
    const [kind, , first, , modules] = box,
      { pass } = this.state;
    if (kind !== MODULE) return first === node && kind === NODE;
    const path = pass.module(node);
    return modules.some((module) => path === module || path.startsWith(`${module}.`));
  }

  picture(level) {
    const { state } = this,
      { width, height } = level;
    this.boxes = level.boxes;
    const lines = level.lines.map(([from, to, points]) => {
      const gone = state.backward && this.stepped(level.boxes[to]);
      const kind = gone ? "gradient" : this.computed(level.boxes[from]) ? "forward" : "later";
      return svg("path", {
        class: `graph-line ${kind}`,
        d: curve(points),
        "marker-end": gone ? null : `url(#arrow-${kind})`,
        "marker-start": gone ? "url(#arrow-gradient)" : null,
      });
    });
    const arrow = (kind) =>
      svg(
        "marker",
        {
          id: `arrow-${kind}`,
          viewBox: "0 0 8 8",
          refX: 7,
          refY: 4,
          markerWidth: 7,
          markerHeight: 7,
          orient: "auto-start-reverse",
          class: `arrow ${kind}`,
        },
        svg("path", { d: "M0 0L8 4L0 8Z" }),
      );
    const boxes = level.boxes.map((box, i) => this.box(box, i));
    const picture = svg(
      "svg",
      {
        class: "graph-picture",
        viewBox: `-6 -6 ${width + 12} ${height + 12}`,
        role: "group",
        width: width + 12,
        height: height + 12,
        "aria-label":
          `Graph of ${this.open || "the program"}: ${count(level.boxes.length, "box", "boxes")}; ` +
          "arrow keys go along its lines",
        onkeydown: (event) => this.key(event, level),
      },
      svg("defs", {}, ["forward", "gradient", "later"].map(arrow)),
      lines,
      boxes,
    );
    return h("div", { class: "graph-scroll" }, picture);
  }

  nodesOf([kind, , first, , modules]) {
    if (kind !== MODULE) return [first];
    const { pass } = this.state,
      found = [];
    for (let i = 0; i < pass.size; ++i)
      if (!pass.leaf(i) && this.holds([kind, "", first, 0, modules], i)) found.push(i);
    return found;
  }

  computed(box) {
    return this.state.computed(box[2]);
  }
  stepped(box) {
    return this.state.stepped(box[2]);
  }

  box(box, i) {
    const { state } = this,
      { pass, selected } = state;
    const [kind, label, node, size, modules, x, y, width, height] = box;
    const chosen = this.holds(box, selected) && (kind !== MODULE || !pass.leaf(selected));
    const leaf = kind === NODE && pass.leaf(node);
    const phase = state.backward && this.stepped(box) ? "gradient" : this.computed(box) ? "forward" : "later";
    const name =
      kind === MODULE
        ? `${label}, ${count(size, "node")}; Enter opens it`
        : kind === NODE
          ? `${label}, ${leaf ? "leaf" : pass.label(node)}`
          : `${kind === 2 ? "from" : "to"} ${label}, outside`;
    const short = [...label].length > 24 ? `\u2026${[...label].slice(-23).join("")}` : label;
    const act = () => (kind === MODULE ? this.enter(modules[0]) : state.select(node));
    const now = state.nodeAt(state.position),
      here = kind === NODE ? now === node : kind === MODULE && now >= 0 && this.holds(box, now);
    return svg(
      "g",
      {
        class: `graph-box kind${kind} ${phase}${chosen ? " chosen" : ""}${leaf ? " leaf" : ""}${here ? " now" : ""}`,
        tabindex: "0",
        role: "button",
        "aria-label": name,
        "data-box": i,
        onclick: act,
        transform: `translate(${x - width / 2} ${y - height / 2})`,
      },
      modules.length > 1 ? svg("rect", { class: "behind", x: 5, y: -5, width, height, rx: 7 }) : null,
      svg("rect", { width, height, rx: leaf || kind > 1 ? height / 2 : 7 }),
      svg("text", { x: width / 2, y: height / 2 + (kind === MODULE ? -2 : 4) }, short),
      kind === MODULE
        ? svg(
            "text",
            { class: "small", x: width / 2, y: height / 2 + 12 },
            modules.length > 1 ? `${modules.length} alike` : count(size, "node"),
          )
        : null,
      svg("title", {}, label),
    );
  }

  key(event, level) {
    const at = event.target.closest("[data-box]");
    if (!at) return;
    const i = Number(at.dataset.box),
      box = level.boxes[i];
    if (event.key === "Enter" || event.key === " ") {
      box[0] === MODULE ? this.enter(box[4][0]) : this.state.select(box[2]);
    } else if (event.key === "Backspace") {
      this.enter(this.open.includes(".") ? this.open.slice(0, this.open.lastIndexOf(".")) : "");
    } else if (event.key.startsWith("Arrow")) {
      const [dx, dy] = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
      const cost = (other) => {
        const x = other[5] - box[5],
          y = other[6] - box[6],
          along = x * dx + y * dy;
        return along <= 1 ? Infinity : along + 3 * Math.abs(x * dy) + 3 * Math.abs(y * dx);
      };
      const best = level.boxes
        .map((other, j) => [cost(other), j])
        .filter(([c]) => c < Infinity)
        .sort((a, b) => a[0] - b[0])[0];
      if (best) this.element.querySelector(`[data-box="${best[1]}"]`).focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

function curve(points) {
  let path = `M${points[0]} ${points[1]}`;
  for (let i = 2; i + 5 < points.length; i += 6) path += `C${points.slice(i, i + 6).join(" ")}`;
  return path;
}

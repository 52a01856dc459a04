// The tape: rows in order of execution. Only those in sight are elements, so that a tape may have a million.

import { h, say, show, svg } from "./dom.js";
import { count, shapeText } from "./numbers.js";
import { groupMarks, rowNumber } from "./row_numbers.js";
import { Rows } from "./rows.js";
import { slotName, usedSlots } from "./slots.js";

const LANE = 9;

export class Tape {
  constructor(state) {
    this.state = state;
    this.models = new Map(); // folding, by pass
    this.narrow = matchMedia("(max-width: 700px)");
    this.window = h("div", { class: "tape-window" });
    this.space = h("div", { class: "tape-space", role: "presentation" }, this.window);
    this.scroller = h(
      "div",
      {
        class: "tape-rows",
        id: "tape",
        role: "tree",
        tabindex: "0",
        "aria-label": "Tape: operations in order of execution",
        onscroll: () => this.draw(),
        onkeydown: (event) => this.key(event),
        onclick: (event) => this.click(event),
      },
      this.space,
    );
    this.element = h(
      "section",
      { class: "tape", "aria-label": "Tape" },
      h(
        "div",
        { class: "tape-head", "aria-hidden": "true" },
        h("span", {}, "name"),
        h("span", { class: "call" }, "operation"),
        h("span", { class: "shape" }, "shape"),
        h("span", { class: "number forward" }, "value \u2193"),
        h("span", { class: "number gradient" }, "gradient \u2191"),
      ),
      this.scroller,
    );
    new ResizeObserver(() => this.draw()).observe(this.scroller);
    state.subscribe((what) => this.changed(what));
    this.changed("pass");
  }

  get height() {
    return this.narrow.matches ? 48 : 32;
  }
  get laneCount() {
    return this.narrow.matches ? 3 : 7;
  }

  changed(what) {
    const { pass, selected } = this.state;
    if (!pass) {
      show(this.window, h("p", { class: "empty" }, "Nothing was recorded."));
      return;
    }
    if (!this.models.has(pass)) this.models.set(pass, new Rows(pass));
    this.model = this.models.get(pass);
    if (what !== "element") {
      this.cursor = this.model.row(selected);
      this.seeCursor();
    }
    this.draw();
  }

  /** Scrolls so that the cursor's row is in sight, with some rows around it. */
  seeCursor() {
    const { clientHeight, scrollTop } = this.scroller;
    if (clientHeight === 0) return;
    this.space.style.height = `${this.model.rows.length * this.height}px`;
    const at = this.cursor * this.height,
      margin = Math.min(3 * this.height, clientHeight / 4);
    if (at < scrollTop + margin) this.scroller.scrollTop = at - margin;
    else if (at + this.height > scrollTop + clientHeight - margin)
      this.scroller.scrollTop = at + this.height + margin - clientHeight;
  }

  draw() {
    if (!this.model) return;
    const { height } = this,
      { rows } = this.model;
    this.space.style.height = `${rows.length * height}px`;
    const from = Math.max(0, Math.floor(this.scroller.scrollTop / height) - 4);
    const to = Math.min(rows.length, from + Math.ceil((this.scroller.clientHeight || 600) / height) + 9);
    this.window.style.transform = `translateY(${from * height}px)`;
    const before = this.shown?.rows === rows ? this.shown.made : new Map();
    const made = new Map();
    for (let i = from; i < to; ++i) {
      const look = this.look(rows[i], i);
      const old = before.get(i);
      made.set(i, old?.look === look ? old : { look, element: this.rowOf(rows[i], i) });
    }
    this.shown = { rows, made };
    this.place([this.rails(from, to), ...[...made.values()].map((row) => row.element)]);
    this.scroller.setAttribute("aria-activedescendant", `row${this.cursor}`);
  }

  rowOf(row, i) {
    return row.group ? this.groupRow(row, i) : this.nodeRow(row, i);
  }

  /** What a row's picture depends on: a step changes few of them, and those that stay the same stay as they are. */
  look(row, i) {
    const { state } = this;
    const common = `${this.height} ${this.laneCount} ${i === this.cursor} `;
    if (row.group) {
      const { first, count: size } = row.group;
      const bad = row.open ? "" : groupMarks(state, row.group).map((mark) => mark.textContent);
      return `${common}${state.backward && state.stepped(first)} ${state.computed(first + size - 1)} ${bad}`;
    }
    const now = state.nodeAt(state.position) === row.node ? state.backward : "";
    return `${common}${state.computed(row.node)} ${state.stepped(row.node)} ${state.gradient(row.node)} ${now}`;
  }

  /** Makes `elements` the window's children; those that are there are not moved. */
  place(elements) {
    const wanted = new Set(elements);
    for (const child of [...this.window.childNodes]) if (!wanted.has(child)) child.remove();
    let at = this.window.firstChild;
    for (const element of elements) {
      if (element === at) at = at.nextSibling;
      else this.window.insertBefore(element, at);
    }
  }

  row(i, depth, attributes, ...cells) {
    const place = this.laneCount * LANE + 18;
    const made = h(
      "div",
      {
        id: `row${i}`,
        role: "treeitem",
        "aria-level": depth + 1,
        "aria-setsize": this.model.rows.length,
        "aria-posinset": i + 1,
        "aria-selected": String(i === this.cursor),
        "data-row": i,
        style: { height: `${this.height}px`, paddingLeft: `${place}px` },
        ...attributes,
      },
      cells,
    );
    made.style.setProperty("--depth", depth);
    return made;
  }

  groupRow({ group, open, depth }, i) {
    const { state } = this;
    const last = group.first + group.count - 1;
    const gone = state.backward && state.stepped(group.first) ? " stepped" : state.computed(last) ? " computed" : "";
    return this.row(
      i,
      depth,
      { class: `row group${gone}`, "aria-expanded": String(open) },
      h("span", { class: "fold", "aria-hidden": "true" }, open ? "\u25be" : "\u25b8"),
      h("span", { class: "group-name" }, group.name),
      h(
        "span",
        { class: "group-count" },
        group.path.startsWith("(") ? count(group.count, "leaf", "leaves") : count(group.count, "operation"),
        open ? null : groupMarks(state, group),
      ),
    );
  }

  nodeRow({ node, depth }, i) {
    const { state } = this,
      { pass } = state;
    const computed = state.computed(node),
      stepped = state.stepped(node);
    const now = state.nodeAt(state.position) === node;
    const [slot] = usedSlots(pass, node),
      gradient = state.gradient(node, slot);
    const kind =
      (computed ? " computed" : "") +
      (stepped ? " stepped" : "") +
      (now ? (state.backward ? " now back" : " now") : "");
    const value = state.recording.value(pass.outputs(node)[slot]);
    const label = this.names(node);
    return this.row(
      i,
      depth,
      { class: `row node${kind}${pass.leaf(node) ? " leaf" : ""}` },
      h("span", { class: "label", title: label }, h("bdi", {}, label)),
      h("span", { class: "call" }, this.call(node)),
      h("span", { class: "shape" }, value ? shapeText(value.shape) : ""),
      h("span", { class: "number forward" }, computed ? rowNumber(value, "value") : ""),
      h(
        "span",
        { class: "number gradient" },
        gradient < 0 ? "" : rowNumber(state.recording.value(gradient), stepped ? "gradient" : "gradient so far"),
      ),
    );
  }

  /** Its name; of several outputs those that are taken, of which the row shows the first. */
  names(node) {
    const { pass } = this.state,
      slots = usedSlots(pass, node).map((slot) => slotName(pass, node, slot));
    return slots.length > 3 ? `${slots[0]} \u2026 ${slots.at(-1)}` : slots.join(" ");
  }

  call(node) {
    const { pass } = this.state;
    if (pass.leaf(node)) return h("span", { class: "quiet" }, "leaf");
    const short = (from, slot) =>
      slotName(pass, from, slot)
        .split(".")
        .slice(pass.outputs(from).length > 1 ? -3 : -2)
        .join(".");
    const names = pass.node(node).inputs.map((input) => (input.node < 0 ? "\u00b7" : short(input.node, input.slot)));
    return [h("b", {}, pass.operation(node)), h("span", { class: "quiet" }, `(${names.join(", ")})`)];
  }

  // ---- rails

  rails(from, to) {
    const { height, model, state } = this,
      lanes = model.lanes(this.laneCount);
    const x = this.laneCount * LANE + 8,
      middle = (row) => (row - from + 0.5) * height;
    const clip = (row) => Math.max(from - 1, Math.min(to, row));
    const parts = [];
    lanes.forEach((lane, number) => {
      const at = x - 8 - number * LANE;
      for (const life of between(lane, from, to)) {
        const stepped = state.backward && life.nodes.some((node) => state.stepped(node));
        const kind = stepped ? "gradient" : state.computed(life.nodes[0]) ? "forward" : "later";
        parts.push(svg("path", { class: `rail ${kind}`, d: rail(x, at, life.from, life.to, middle, clip) }));
        const users = new Set(life.nodes.flatMap((node) => this.usersOf(node, from, to)));
        for (const user of users)
          if (user !== life.to && user !== life.from && user >= from && user < to)
            parts.push(
              svg("path", {
                class: `rail ${kind}`,
                d: `M${at} ${middle(user) - 6}Q${at} ${middle(user)} ${at + 6} ${middle(user)}H${x - 4}`,
              }),
            );
      }
    });
    for (let row = from; row < to; ++row) parts.push(this.dot(model.rows[row], x, middle(row)));
    parts.push(...this.selectedRails(x, middle, clip));
    return svg("svg", { class: "rails", width: x + 8, height: (to - from) * height, "aria-hidden": "true" }, parts);
  }

  usersOf(node, from, to) {
    const users = this.state.pass.users[node];
    return (users.length > 200 ? users.filter((user) => user >= 0) : users)
      .map((user) => this.model.row(user))
      .filter((row) => row >= from && row < to);
  }

  dot(row, x, y) {
    const { state } = this;
    if (row.group) return svg("rect", { class: "dot", x: x - 3.5, y: y - 3.5, width: 7, height: 7, rx: 2 });
    const kind = state.stepped(row.node) ? "gradient" : state.computed(row.node) ? "forward" : "later";
    const leaf = state.pass.leaf(row.node);
    return svg("circle", { class: `dot ${kind}${leaf ? " leaf" : ""}`, cx: x, cy: y, r: leaf ? 3 : 3.5 });
  }

  /** The chosen node's own: where its values come from, where its gradient comes from. */
  selectedRails(x, middle, clip) {
    const { state, model } = this,
      { pass, selected } = state;
    if (selected < 0) return [];
    const own = model.row(selected),
      parts = [];
    const draw = (other, kind, title) => {
      if (other < 0 || model.row(other) === own) return;
      const row = model.row(other),
        bow = x - 10 - Math.min(this.laneCount * LANE - 6, 6 + 4 * Math.log2(1 + Math.abs(row - own)));
      const a = middle(clip(row)),
        b = middle(own);
      parts.push(
        svg(
          "path",
          { class: `rail chosen ${kind}`, d: `M${x} ${a}C${bow} ${a} ${bow} ${b} ${x} ${b}` },
          svg("title", {}, title),
        ),
      );
    };
    for (const from of new Set(pass.sources(selected))) draw(from, "forward", "value");
    if (state.backward) {
      for (const arrival of pass.stepAt(selected)?.arrivals ?? [])
        if (state.arrived(arrival)) draw(arrival.from, "gradient", "gradient");
    } else for (const user of pass.users[selected].slice(0, 40)) draw(user, "user", "use");
    return parts;
  }

  // ---- hands

  click(event) {
    const at = event.target.closest("[data-row]");
    if (!at) return;
    this.moveTo(Number(at.dataset.row), event.target.closest(".group") !== null);
  }

  moveTo(row, fold = false) {
    const there = this.model.rows[row];
    if (!there) return;
    this.cursor = row;
    if (there.group) {
      if (fold) this.model.toggle(there.group, !there.open);
      this.seeCursor();
      this.draw();
      say(
        `${there.group.name}, ${count(there.group.count, "operation")}, ` +
          (this.model.rows[row].open ? "open" : "closed"),
      );
    } else {
      this.state.select(there.node);
      this.seeCursor();
      this.draw();
    }
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !this.model) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.height) - 1);
    const here = this.model.rows[this.cursor];
    const moves = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: page, PageUp: -page };
    if (event.key in moves) {
      this.moveTo(Math.max(0, Math.min(this.model.rows.length - 1, this.cursor + moves[event.key])));
    } else if (event.key === "Home" || event.key === "End") {
      this.moveTo(event.key === "Home" ? 0 : this.model.rows.length - 1);
    } else if (event.key === "ArrowRight" && here?.group) {
      here.open ? this.moveTo(this.cursor + 1) : this.moveTo(this.cursor, true);
    } else if (event.key === "ArrowLeft" && here) {
      if (here.group && here.open) this.moveTo(this.cursor, true);
      else {
        let row = this.cursor - 1;
        while (row >= 0 && !(this.model.rows[row].group && this.model.rows[row].depth < here.depth)) --row;
        if (row >= 0) this.moveTo(row);
      }
    } else if (event.key === "Enter" && here?.group) {
      this.moveTo(this.cursor, true);
    } else if (event.key !== "ArrowRight") return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Opens what hides the chosen node. */
  reveal() {
    if (!this.model || this.state.selected < 0) return;
    this.cursor = this.model.reveal(this.state.selected);
    this.seeCursor();
    this.draw();
    this.scroller.focus({ preventScroll: true });
  }

  foldAll(closed) {
    if (!this.model) return;
    this.model.closed.clear();
    if (closed) this.model.fold((each) => each.depth === 0);
    this.model.lay();
    this.cursor = this.model.row(this.state.selected);
    this.seeCursor();
    this.draw();
  }
}

/** The lives of a lane that meet rows [from, to). */
function between(lane, from, to) {
  let low = 0,
    high = lane.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    lane[middle].to < from ? (low = middle + 1) : (high = middle);
  }
  const found = [];
  for (; low < lane.length && lane[low].from < to; ++low) found.push(lane[low]);
  return found;
}

function rail(x, at, first, last, middle, clip) {
  const top = middle(clip(first)),
    bottom = middle(clip(last));
  const start = clip(first) === first ? `M${x} ${top}H${at + 5}Q${at} ${top} ${at} ${top + 5}` : `M${at} ${top}`;
  const end = clip(last) === last ? `V${bottom - 5}Q${at} ${bottom} ${at + 5} ${bottom}H${x - 4}` : `V${bottom}`;
  return start + end;
}

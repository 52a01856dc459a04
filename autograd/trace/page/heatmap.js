// Matrices as pictures, with the numbers on hover and by the arrow keys.

import { h } from "./dom.js";
import { brief, exact, tidy } from "./numbers.js";

// Purple to green: told apart with every kind of colour vision, and by lightness from the middle.
const SCALES = {
  light: [
    [90, 28, 112],
    [153, 112, 171],
    [231, 212, 232],
    [250, 250, 249],
    [217, 240, 211],
    [90, 174, 97],
    [12, 92, 46],
  ],
  dark: [
    [214, 160, 232],
    [150, 98, 176],
    [74, 52, 92],
    [30, 32, 38],
    [36, 74, 52],
    [64, 150, 88],
    [150, 226, 160],
  ],
};

const NAN = {
  light: { rgb: [32, 32, 32], text: "rgb(32 32 32)" },
  dark: { rgb: [255, 214, 0], text: "rgb(255 214 0)" },
};
const NAMES = "11px system-ui, sans-serif";

export function dark() {
  return document.documentElement.dataset.theme === "dark";
}

const STEPS = 255;
const tables = {};

/** [red, green, blue] and its text for x in [-1, 1], from a table: a matrix has many cells. */
function colour(x) {
  const name = dark() ? "dark" : "light";
  tables[name] ??= Array.from({ length: 2 * STEPS + 1 }, (_, i) => {
    const rgb = mixed(i / STEPS - 1);
    return { rgb, text: `rgb(${rgb})` };
  });
  return tables[name][Math.round((Math.max(-1, Math.min(1, x)) + 1) * STEPS)];
}

/** Draws a heatmap when it comes in sight. */
const pending = new WeakMap();
const sight = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      sight.unobserve(target);
      pending.get(target)?.draw();
    }
  },
  { rootMargin: "200px" },
);

const measuring = document.createElement("canvas").getContext("2d");

/** The width of the widest of some names, in pixels; 0 without names. */
function widest(names, most) {
  if (!names) return 0;
  measuring.font = NAMES;
  return Math.min(most, 10 + Math.max(0, ...names.map((name) => measuring.measureText(short(name)).width)));
}

function short(name) {
  const letters = [...name];
  return letters.length > 14 ? `${letters.slice(0, 13).join("")}\u2026` : name;
}

function mixed(x) {
  const scale = SCALES[dark() ? "dark" : "light"],
    at = ((Math.max(-1, Math.min(1, x)) + 1) / 2) * (scale.length - 1);
  const i = Math.min(scale.length - 2, Math.floor(at)),
    t = at - i;
  return scale[i].map((from, c) => Math.round(from + t * (scale[i + 1][c] - from)));
}

/**
 * A heatmap of `rows` x `columns` numbers, number(i, j) or NaN, that lie within `most` of 0. `text(i, j)`: exact.
 * `index(i, j)`: what a cell is called. Options: rowNames, columnNames, onchoose(i, j), chosen [i, j], label, dtype,
 * numbers: whether cells show them if there is room, width, blank(i, j): cells that are not there.
 */
export class Heatmap {
  constructor(rows, columns, number, options) {
    Object.assign(this, { rows, columns, number, options, at: null });
    const { width = 420 } = options;
    this.left = widest(options.rowNames, 110);
    this.top = widest(options.columnNames, 110);
    this.numbers = options.numbers !== false && columns <= 8 && rows <= 12 && columns * 56 <= width - this.left;
    const fit = Math.floor((width - this.left) / Math.max(1, columns));
    this.cellWidth = this.numbers ? 56 : Math.max(1, Math.min(options.cell ?? 18, fit));
    this.cellHeight = this.numbers
      ? 26
      : Math.max(rows > 128 ? 2 : 4, Math.min(18, this.cellWidth, Math.ceil(360 / Math.max(1, rows))));
    if (rows === 1 && !this.numbers) this.cellHeight = 18;
    this.canvas = h("canvas", {
      class: "heatmap-canvas",
      tabindex: "0",
      role: "img",
      "aria-label": this.describe(),
      onpointermove: (event) => this.pointed(event),
      onpointerleave: () => this.leave(),
      onkeydown: (event) => this.key(event),
      onclick: (event) => {
        this.pointed(event);
        this.choose();
      },
      onfocus: () => this.read(this.at ?? options.chosen ?? [0, 0]),
      onblur: () => this.leave(),
    });
    this.readout = h("output", { class: "readout", "aria-live": "polite" });
    this.element = h("div", { class: "heatmap" }, h("div", { class: "heatmap-scroll" }, this.canvas), this.readout);
    this.canvas.style.width = `${this.left + columns * this.cellWidth}px`;
    this.canvas.style.height = `${this.top + rows * this.cellHeight}px`;
    pending.set(this.canvas, this);
    sight.observe(this.canvas);
  }

  describe() {
    return `${this.options.label ?? "matrix"}, ${this.rows} by ${this.columns}; arrow keys read its elements`;
  }

  draw() {
    const { canvas, rows, columns, left, top, cellWidth: w, cellHeight: hh } = this;
    const ratio = Math.min(2, globalThis.devicePixelRatio || 1);
    const width = left + columns * w,
      height = top + rows * hh;
    canvas.width = Math.max(1, width * ratio);
    canvas.height = Math.max(1, height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const gap = w >= 8 && hh >= 8 ? 1 : 0;
    for (let i = 0; i < rows; ++i) for (let j = 0; j < columns; ++j) this.cell(context, i, j, gap);
    this.names(context);
    this.marks(context);
  }

  cell(context, i, j, gap) {
    const { left, top, cellWidth: w, cellHeight: hh, options } = this;
    if (options.blank?.(i, j)) return;
    const x = this.number(i, j),
      most = options.most || 1;
    const { rgb, text } = Number.isNaN(x) ? NAN[dark() ? "dark" : "light"] : colour(x / most);
    context.fillStyle = text;
    context.fillRect(left + j * w, top + i * hh, w - gap, hh - gap);
    if (Number.isFinite(x) && !this.numbers) return;
    if (!Number.isFinite(x) && w >= 8) {
      context.strokeStyle = Number.isNaN(x) ? (dark() ? "#000" : "#fff") : "#000";
      context.beginPath();
      context.moveTo(left + j * w + 2, top + i * hh + 2);
      context.lineTo(left + j * w + w - 3, top + i * hh + hh - 3);
      context.stroke();
    }
    if (!this.numbers) return;
    const bright = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 140;
    context.fillStyle = bright ? "#111" : "#fff";
    context.font = "12px ui-monospace, 'DejaVu Sans Mono', monospace";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(
      tidy(brief(this.options.raw(i, j), this.options.dtype)),
      left + (j + 0.5) * w,
      top + (i + 0.5) * hh,
    );
  }

  names(context) {
    const { options, left, top, cellWidth: w, cellHeight: hh } = this;
    context.fillStyle = dark() ? "#c9ced6" : "#3b4048";
    context.font = NAMES;
    context.textBaseline = "middle";
    context.textAlign = "right";
    if (hh >= 9)
      options.rowNames
        ?.slice(0, this.rows)
        .forEach((name, i) => context.fillText(short(name), left - 6, top + (i + 0.5) * hh));
    context.textAlign = "left";
    if (w >= 9)
      options.columnNames?.slice(0, this.columns).forEach((name, j) => {
        context.save();
        context.translate(left + (j + 0.5) * w, top - 6);
        context.rotate(-Math.PI / 2);
        context.fillText(short(name), 0, 0);
        context.restore();
      });
  }

  marks(context) {
    const { left, top, cellWidth: w, cellHeight: hh, options } = this;
    const frame = (at, style, width) => {
      if (!at || at[0] >= this.rows || at[1] >= this.columns) return;
      context.strokeStyle = style;
      context.lineWidth = width;
      const whole = at[1] < 0; // a row
      context.strokeRect(
        left + (whole ? 0 : at[1] * w) - 0.5,
        top + at[0] * hh - 0.5,
        whole ? this.columns * w : w,
        hh,
      );
    };
    frame(options.chosen, dark() ? "#fff" : "#000", 2);
    frame(this.at, dark() ? "#ffd43b" : "#e8590c", 2);
  }

  pointed(event) {
    const box = this.canvas.getBoundingClientRect();
    const j = Math.floor((event.clientX - box.left - this.left) / this.cellWidth);
    const i = Math.floor((event.clientY - box.top - this.top) / this.cellHeight);
    if (i >= 0 && j >= 0 && i < this.rows && j < this.columns) this.read([i, j]);
    else this.leave();
  }

  read(at) {
    if (this.rows * this.columns === 0) return;
    this.at = at;
    this.readout.textContent = `${this.options.index(...at)} = ${this.options.text(...at)}`;
    this.options.onread?.(...at);
    this.draw();
  }

  leave() {
    if (document.activeElement === this.canvas) return;
    this.at = null;
    this.readout.textContent = "";
    this.draw();
  }

  choose() {
    if (this.at) this.options.onchoose?.(...this.at);
  }

  key(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key in moves) {
      const [i, j] = this.at ?? [0, 0],
        [di, dj] = moves[event.key];
      this.read([Math.max(0, Math.min(this.rows - 1, i + di)), Math.max(0, Math.min(this.columns - 1, j + dj))]);
    } else if (event.key === "Home") this.read([this.at?.[0] ?? 0, 0]);
    else if (event.key === "End") this.read([this.at?.[0] ?? 0, this.columns - 1]);
    else if (event.key === "Enter") this.choose();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/** The largest finite magnitude among numbers. */
export function magnitude(summary) {
  return Math.max(Math.abs(summary.min), Math.abs(summary.max)) || 1;
}

/** The text of a number as the page shows it where there is room. */
export function full(value, position) {
  return exact(value.at(position), value.dtype);
}

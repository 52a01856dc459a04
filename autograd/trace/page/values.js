// A tensor of the recording: its numbers if it is small, a heatmap of it, what is known of it if it is only summarised.

import { h, svg, toggle } from "./dom.js";
import { indexOf } from "./evaluate.js";
import { full, Heatmap, magnitude } from "./heatmap.js";
import { brief, bytesText, exact, shapeText, tidy } from "./numbers.js";

const LARGE = 256; // rows or columns that are drawn at most

/** One number with its exact text on hover. */
export function numberText(x, dtype, width = 12) {
  return h("span", { class: "exact", title: exact(x, dtype) }, tidy(brief(x, dtype, width)));
}

export function wholeNumber(value, position = 0) {
  return h("code", { class: "exact" }, full(value, position));
}

/** Which matrix of a tensor with more axes is looked at, by tensor: it stays when the page is drawn again. */
const leading = new WeakMap();

/**
 * A tensor, titled. Options: kind "forward" or "gradient"; onchoose(index), chosen: an index; rowNames, columnNames;
 * width.
 */
export function valueCard(title, value, options = {}) {
  const card = h("figure", { class: `value ${options.kind ?? ""}` });
  if (!value) {
    card.append(
      h("figcaption", {}, h("b", {}, title), h("span", { class: "quiet" }, options.absent ?? "not recorded")),
    );
    return card;
  }
  card.append(
    h("figcaption", {}, h("b", {}, title), h("span", { class: "quiet" }, `${shapeText(value.shape)} ${value.dtype}`)),
  );
  if (value.scalar) card.append(h("div", { class: "scalar" }, wholeNumber(value)));
  else if (value.size === 0) card.append(h("p", { class: "quiet" }, "no elements"));
  else if (value.whole) card.append(matrixOf(title, value, options));
  else card.append(...summarised(title, value, options));
  if (value.size > 1) card.append(statistics(value));
  for (const [name, part] of value.whole ? [] : value.slices) card.append(valueCard(`${title}${name}`, part, options));
  return card;
}

function matrixOf(title, value, options) {
  const { shape } = value;
  const columns = shape.length ? shape.at(-1) : 1,
    rows = shape.length > 1 ? shape.at(-2) : 1;
  const count = value.size / Math.max(1, rows * columns);
  const place = h("div", { class: "matrix" });
  const draw = (which) => {
    leading.set(value, which);
    const prefix = indexOf(shape.slice(0, -2), which);
    const full_index = (i, j) => (shape.length === 0 ? [] : shape.length === 1 ? [j] : [...prefix, i, j]);
    const position = (i, j) => which * rows * columns + i * columns + j;
    const chosen =
      options.chosen?.length === shape.length && options.chosen.slice(0, -2).every((x, i) => x === prefix[i])
        ? shape.length === 1
          ? [0, options.chosen[0]]
          : options.chosen.slice(-2)
        : null;
    const map = new Heatmap(
      Math.min(rows, LARGE),
      Math.min(columns, LARGE),
      (i, j) => Number(value.at(position(i, j))),
      {
        most: magnitude(value.summary),
        dtype: value.dtype,
        label: title,
        width: options.width,
        numbers: options.numbers,
        raw: (i, j) => value.at(position(i, j)),
        text: (i, j) => full(value, position(i, j)),
        chosen,
        index: (i, j) => `[${full_index(i, j).join(", ")}]`,
        rowNames: options.rowNames,
        columnNames: options.columnNames,
        onchoose: options.onchoose ? (i, j) => options.onchoose(full_index(i, j)) : undefined,
      },
    );
    place.replaceChildren(...(count > 1 ? [leafing(shape.slice(0, -2), which, count, draw)] : []), map.element);
    if (rows > LARGE || columns > LARGE)
      place.append(
        h(
          "p",
          { class: "quiet" },
          `the first ${Math.min(rows, LARGE)} of ${rows} rows, ${Math.min(columns, LARGE)} of ${columns} columns`,
        ),
      );
  };
  let which = leading.get(value) ?? 0;
  if (options.chosen?.length === shape.length && shape.length > 2)
    which = options.chosen.slice(0, -2).reduce((at, x, i) => at * shape[i] + x, 0);
  draw(which < count ? which : 0);
  return place;
}

/** Buttons that go through the matrices of a tensor. */
function leafing(shape, which, count, draw) {
  const go = (by) => () => draw((which + by + count) % count);
  return h(
    "div",
    { class: "leafing" },
    h("button", { type: "button", "aria-label": "the matrix before", onclick: go(-1) }, "\u2039"),
    h(
      "span",
      {},
      `[${indexOf(shape, which).join(", ")}, :, :]`,
      h("span", { class: "quiet" }, `  ${which + 1} of ${count}`),
    ),
    h("button", { type: "button", "aria-label": "the next matrix", onclick: go(1) }, "\u203a"),
  );
}

function summarised(title, value, options) {
  const { picture } = value.summary,
    { rows, columns, cells } = picture;
  const size = value.size * (value.dtype === "float64" || value.dtype === "int64" ? 8 : 4);
  const parts = [
    h(
      "p",
      { class: "note" },
      `Summarised: its ${value.size.toLocaleString("en")} elements (${bytesText(size)}) are not on this page. `,
      "Each cell is a mean.",
    ),
  ];
  if (rows * columns > 0) {
    let most = 0;
    for (const x of cells) if (Number.isFinite(x)) most = Math.max(most, Math.abs(x));
    const at = (i, j) => cells[i * columns + j];
    parts.push(
      new Heatmap(rows, columns, at, {
        most,
        label: `${title}, means over a grid`,
        width: options.width,
        numbers: false,
        raw: at,
        dtype: "float32",
        index: (i, j) => `mean of cell [${i}, ${j}]`,
        text: (i, j) => exact(at(i, j), "float32"),
      }).element,
    );
  }
  parts.push(histogram(value));
  return parts;
}

function statistics(value) {
  const { min, max, zeros, nans, infinities } = value.summary,
    { mean, std, norm } = value.stats;
  const line = h("dl", { class: "statistics" });
  const add = (name, x, text) =>
    line.append(h("div", {}, h("dt", {}, name), h("dd", {}, text ?? numberText(x, "float64", 9))));
  line.append(
    h("div", {}, h("dt", {}, "min"), h("dd", {}, numberText(min, value.dtype, 9))),
    h("div", {}, h("dt", {}, "max"), h("dd", {}, numberText(max, value.dtype, 9))),
  );
  add("mean", mean);
  add("std", std);
  add("norm", norm);
  if (zeros) add("zeros", zeros, String(zeros));
  if (nans) line.append(h("div", { class: "bad" }, h("dt", {}, "NaN"), h("dd", {}, String(nans))));
  if (infinities) line.append(h("div", { class: "bad" }, h("dt", {}, "inf"), h("dd", {}, String(infinities))));
  if (value.whole && value.size > 8) {
    const place = h("span", {});
    const button = toggle(
      "histogram",
      false,
      () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        place.replaceChildren(...(on ? [histogram(value)] : []));
      },
      { class: "small" },
    );
    return [line, button, place].reduce(
      (all, each) => (all.append(each), all),
      h("div", { class: "statistics-block" }),
    );
  }
  return line;
}

export function histogram(value) {
  const { low, high, counts } = value.summary.histogram;
  const most = Math.max(1, ...counts),
    width = 240,
    height = 48,
    bar = width / Math.max(1, counts.length);
  const range = `from ${brief(low, "float64")} to ${brief(high, "float64")}`;
  const said = `Histogram ${range} in ${counts.length} bins, at most ${most} in one`;
  return h(
    "div",
    { class: "histogram" },
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": said, width, height },
      counts.map((n, i) =>
        svg(
          "rect",
          {
            x: i * bar,
            width: Math.max(0.5, bar - 1),
            y: height - (height * n) / most,
            height: (height * n) / most,
            class: "bar",
          },
          svg("title", {}, `${n}`),
        ),
      ),
    ),
    h("div", { class: "ends" }, numberText(low, "float64", 8), numberText(high, "float64", 8)),
    value.whole ? null : h("p", { class: "quiet" }, "of at most some thousand elements, from all over"),
  );
}

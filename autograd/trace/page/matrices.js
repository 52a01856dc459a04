// One matrix out of a tensor with more axes, for the views of attention and of recurrent nets.

import { h } from "./dom.js";
import { full, Heatmap, magnitude } from "./heatmap.js";
import { shapeText } from "./numbers.js";

/** The matrix of `value` at `prefix` of its leading axes (as many as there are; 1 wide ones are broadcast). */
export function lastTwo(value, prefix) {
  const { shape } = value,
    [rows, columns] = [shape.at(-2) ?? 1, shape.at(-1) ?? 1];
  let at = 0;
  const own = shape.slice(0, -2),
    from = prefix.slice(prefix.length - own.length);
  own.forEach((n, i) => {
    at = at * n + (n === 1 ? 0 : from[i]);
  });
  return { value, rows, columns, position: (i, j) => (at * rows + i) * columns + j };
}

/** Rows along axis `rowAxis`, columns along `columnAxis`, the other axes at `fixed[axis]`. */
export function alongAxes(value, rowAxis, columnAxis, fixed) {
  const { shape } = value,
    strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  const base = shape.reduce(
    (at, n, i) => (i === rowAxis || i === columnAxis ? at : at + strides[i] * Math.min(fixed[i] ?? 0, n - 1)),
    0,
  );
  return {
    value,
    rows: shape[rowAxis],
    columns: shape[columnAxis],
    position: (i, j) => base + i * strides[rowAxis] + j * strides[columnAxis],
  };
}

/** Columns of their own tensors: {value, position(i)} each. */
export function fromColumns(columns, rows) {
  return {
    value: columns[0].value,
    rows,
    columns: columns.length,
    pick: (i, j) => [columns[j].value, columns[j].position(i)],
  };
}

/** How wide a figure is of which two stand side by side, if the view is wide enough. */
export function halfOf(width) {
  return width >= 500 ? Math.floor(width / 2) - 46 : Math.max(180, width - 52);
}

/** A titled heatmap of a matrix. Options as Heatmap's, and `most`: the magnitude of the scale. */
export function matrixFigure(title, matrix, options = {}) {
  const pick = matrix.pick ?? ((i, j) => [matrix.value, matrix.position(i, j)]);
  const { value, rows, columns } = matrix;
  const figure = h(
    "figure",
    { class: `value ${options.kind ?? ""}` },
    h("figcaption", {}, h("b", {}, title), h("span", { class: "quiet" }, shapeText([rows, columns]))),
  );
  if (!value.whole) {
    figure.append(h("p", { class: "note" }, "Only summarised in this recording."));
    return figure;
  }
  const at = (i, j) => {
    const [from, position] = pick(i, j);
    return Number(from.at(position));
  };
  const map = new Heatmap(rows, columns, at, {
    most: options.most ?? magnitude(value.summary),
    dtype: value.dtype,
    label: title,
    raw: (i, j) => pick(i, j)[0].at(pick(i, j)[1]),
    text: (i, j) => full(...pick(i, j)),
    index: (i, j) => `[${options.rowNames?.[i] ?? i}, ${options.columnNames?.[j] ?? j}]`,
    numbers: false,
    ...options,
  });
  figure.append(map.element);
  return figure;
}

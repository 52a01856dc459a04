// How training went: the loss, and by parameter the gradient's norm and the update's size.

import { h, show, svg } from "./dom.js";
import { brief, count, exact, tidy } from "./numbers.js";

export class Charts {
  constructor(state) {
    this.state = state;
    this.element = h("section", {
      class: "panel charts",
      id: "panel-training",
      role: "tabpanel",
      "aria-labelledby": "tab-training",
      tabindex: "-1",
    });
    this.drawn = false;
    state.subscribe((what) => {
      if (what === "pass") this.drawn = false;
    });
    addEventListener("resize", () => {
      this.drawn = false;
      if (!this.element.hidden) this.draw();
    });
  }

  /** When it is first looked at. */
  draw() {
    if (this.drawn) return;
    this.drawn = true;
    const { progress } = this.state.recording;
    if (progress.length === 0) {
      show(this.element, h("p", { class: "empty" }, "No passes were counted."));
      return;
    }
    const names = [...new Set(progress.flatMap((each) => [...each.norms.keys(), ...each.ratios.keys()]))];
    show(
      this.element,
      h("h2", {}, "Training"),
      h(
        "p",
        { class: "quiet" },
        count(progress.length, "backward pass", "backward passes"),
        "; those recorded in full are marked, and open on a click.",
      ),
      h("h3", {}, "Loss"),
      this.loss(),
      names.length ? [h("h3", {}, "By parameter"), this.table(names)] : null,
    );
  }

  loss() {
    const { progress, passes } = this.state.recording;
    // Units are pixels, so that labels are as large in a narrow window as in a wide one.
    const width = Math.max(280, Math.min(560, this.element.clientWidth - 32 || 560)),
      height = 180,
      left = 58,
      bottom = 24;
    const finite = progress.filter((each) => Number.isFinite(each.loss));
    if (finite.length === 0) return h("p", { class: "quiet" }, "No pass began at a single finite number.");
    const [low, high] = bounds(finite.map((each) => each.loss));
    const first = progress[0].number,
      last = progress.at(-1).number;
    const x = (number) => left + ((number - first) / Math.max(1, last - first)) * (width - left - 12);
    const y = (loss) => 8 + (1 - (loss - low) / (high - low || 1)) * (height - bottom - 16);
    const marks = passes.flatMap((pass, i) => {
      const at = progress.find((each) => each.number === pass.number);
      return at && Number.isFinite(at.loss)
        ? [
            svg(
              "circle",
              {
                class: `chart-mark${pass === this.state.trail[0]?.pass ? " chosen" : ""}`,
                cx: x(at.number),
                cy: y(at.loss),
                r: 5,
                tabindex: "0",
                role: "button",
                "aria-label": `open pass ${pass.number}, loss ${exact(at.loss)}`,
                onclick: () => this.state.openPass(i),
                onkeydown: (event) => {
                  if (event.key === "Enter" || event.key === " ") {
                    this.state.openPass(i);
                    event.preventDefault();
                    event.stopPropagation();
                  }
                },
              },
              svg("title", {}, `pass ${pass.number}: ${exact(at.loss)}`),
            ),
          ]
        : [];
    });
    const tick = (value) => [
      svg("line", { class: "grid", x1: left, x2: width - 12, y1: y(value), y2: y(value) }),
      svg("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, tidy(brief(value, "float64"))),
    ];
    return svg(
      "svg",
      {
        class: "chart",
        viewBox: `0 0 ${width} ${height}`,
        role: "group",
        "aria-label": `Loss over passes ${first} to ${last}: ${exact(finite[0].loss)} to ${exact(finite.at(-1).loss)}`,
      },
      [low, (low + high) / 2, high].map(tick),
      svg("text", { x: left, y: height - 4 }, `pass ${first}`),
      svg("text", { x: width - 12, y: height - 4, "text-anchor": "end" }, `pass ${last}`),
      svg("path", { class: "chart-line", d: lines(finite.map((each) => [x(each.number), y(each.loss)])) }),
      marks,
    );
  }

  table(names) {
    const { progress } = this.state.recording;
    const all = (which) =>
      progress
        .flatMap((each) => [...each[which].values()])
        .filter((x) => x > 0 && Number.isFinite(x))
        .map(Math.log10);
    const ranges = { norms: bounds(all("norms")), ratios: bounds(all("ratios")) };
    const cell = (name, which, what, kind) => {
      const points = progress.map((each) => [each.number, each[which].get(name)]).filter(([, x]) => x !== undefined);
      const last = points.at(-1)?.[1];
      return [
        h("td", {}, spark(points, ranges[which], progress, `${what} of ${name}`, kind)),
        h(
          "td",
          { class: "amount", title: last === undefined ? "" : exact(last) },
          last === undefined ? "\u2013" : tidy(brief(last, "float64")),
        ),
      ];
    };
    const limits = ([low, high]) => `${power(Math.floor(low))} to ${power(Math.ceil(high))}`;
    return h(
      "div",
      { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Parameters over passes" },
      h(
        "table",
        { class: "progress" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "parameter"),
            h(
              "th",
              { scope: "col", colspan: 2 },
              "gradient norm ",
              h("span", { class: "quiet" }, limits(ranges.norms)),
            ),
            h(
              "th",
              { scope: "col", colspan: 2 },
              "|update| / |parameter| ",
              h("span", { class: "quiet" }, limits(ranges.ratios)),
            ),
          ),
        ),
        h(
          "tbody",
          {},
          names.map((name) =>
            h(
              "tr",
              {},
              h("th", { scope: "row", title: name }, name),
              cell(name, "norms", "gradient norm", "gradient"),
              cell(name, "ratios", "update ratio", "forward"),
            ),
          ),
        ),
      ),
    );
  }
}

/** 10 to a whole number. */
function power(exponent) {
  const digits = { "-": "\u207b", 0: "\u2070", 1: "\u00b9", 2: "\u00b2", 3: "\u00b3" };
  const raised = (digit) => digits[digit] ?? String.fromCharCode(0x2070 + Number(digit));
  return `10${[...String(exponent)].map(raised).join("")}`;
}

function bounds(numbers) {
  let low = Infinity,
    high = -Infinity;
  for (const x of numbers) ((low = Math.min(low, x)), (high = Math.max(high, x)));
  return low <= high ? [low, high] : [0, 0];
}

function lines(points) {
  return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

/** Logarithmic; what is 0 or not finite leaves a gap. */
function spark(points, [low, high], progress, what, kind) {
  const width = 150,
    height = 28,
    first = progress[0].number,
    span = Math.max(1, progress.at(-1).number - first);
  const good = points
    .filter(([, x]) => x > 0 && Number.isFinite(x))
    .map(([number, x]) => [
      3 + ((number - first) / span) * (width - 6),
      3 + (1 - (Math.log10(x) - low) / (high - low || 1)) * (height - 6),
    ]);
  const said = points.length
    ? `${what}: first ${brief(points[0][1], "float64")}, last ${brief(points.at(-1)[1], "float64")}`
    : `${what}: none`;
  return svg(
    "svg",
    { class: `spark ${kind}`, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", width, height, role: "img", "aria-label": said },
    svg("path", { d: lines(good) }),
    good.length ? svg("circle", { cx: good.at(-1)[0], cy: good.at(-1)[1], r: 2.5 }) : null,
  );
}

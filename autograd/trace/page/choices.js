// Rows of buttons from which one is chosen: a head, an example, a round. What was chosen stays while the page is open.

import { h } from "./dom.js";

const chosen = new Map();

/** The number chosen last under `key`, below `count`. */
export function choiceOf(key, count) {
  const at = chosen.get(key) ?? 0;
  return at < count ? at : 0;
}

export function choose(key, at) {
  chosen.set(key, at);
}

/** Buttons 0 to count - 1 (or a field, if there are many), or nothing to choose from. */
export function choice(name, key, count, redraw, names = null) {
  if (count < 2) return null;
  const at = choiceOf(key, count);
  const set = (i) => {
    choose(key, i);
    redraw();
  };
  const control =
    count <= 12
      ? Array.from({ length: count }, (_, i) =>
          h(
            "button",
            {
              type: "button",
              "aria-pressed": String(i === at),
              "aria-label": `${name} ${names?.[i] ?? i}`,
              onclick: () => set(i),
            },
            names?.[i] ?? i,
          ),
        )
      : h("input", {
          type: "number",
          min: 0,
          max: count - 1,
          value: at,
          "aria-label": name,
          onchange: (event) => set(Math.max(0, Math.min(count - 1, Number(event.target.value) || 0))),
        });
  return h(
    "span",
    { class: "set", role: "group", "aria-label": name },
    h("span", { class: "quiet" }, `${name} `),
    control,
  );
}

/** A view that draws itself again when something in it is chosen, and keeps the focus. */
export function view(title, draw) {
  const element = h("section", { class: "view", "aria-label": title });
  const redraw = () => {
    const label = element.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    element.replaceChildren(h("h3", {}, title), ...draw(redraw).flat(Infinity).filter(Boolean));
    if (label)
      [...element.querySelectorAll("[aria-label]")]
        .find((each) => each.getAttribute("aria-label") === label)
        ?.focus({ preventScroll: true });
  };
  redraw();
  return element;
}

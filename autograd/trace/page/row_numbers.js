// The numbers of the tape's rows, and what in them is not finite: a norm of the finite elements alone would hide it.

import { h } from "./dom.js";
import { brief, exact, tidy } from "./numbers.js";

/** "nan", "inf", "-inf", "nan inf"; "" if every element is finite. */
export function notFinite(value) {
  if (!value || value.size === 0 || !value.dtype.startsWith("float")) return "";
  if (value.scalar) {
    const x = value.at(0);
    return Number.isFinite(x) ? "" : exact(x, value.dtype);
  }
  const { nans, infinities } = value.summary;
  return [nans ? "nan" : "", infinities ? "inf" : ""].filter(Boolean).join(" ");
}

/** A mark that says it in words, and in a box: colour alone would not do. */
export function badMark(text, title) {
  return h("span", { class: "not-finite", title }, tidy(text));
}

/** A single number, or the norm of several. */
export function rowNumber(value, what) {
  if (!value) return "";
  const bad = notFinite(value);
  if (value.scalar) {
    const text = exact(value.at(0), value.dtype);
    if (bad) return badMark(bad, `${what} ${text}`);
    return h("span", { title: `${what} ${text}` }, tidy(brief(value.at(0), value.dtype)));
  }
  const { norm } = value.stats;
  if (bad) {
    const { nans, infinities } = value.summary;
    return badMark(
      bad,
      `${what}: of ${value.size} elements ${nans} nan, ${infinities} infinite; norm of the others ${exact(norm)}`,
    );
  }
  return h(
    "span",
    { title: `${what}: norm ${exact(norm)}` },
    h("i", {}, "\u2016\u2016"),
    tidy(brief(norm, "float64", 6)),
  );
}

const known = new WeakMap();

/** The first node of a group whose value, and the first step whose gradient, is not finite: {node, step, words}. */
function troubles(pass, group) {
  if (known.has(group)) return known.get(group);
  const { recording } = pass,
    found = { node: Infinity, step: Infinity, value: "", gradient: "" };
  for (let node = group.first; node < group.first + group.count; ++node) {
    if (found.node === Infinity)
      for (const each of pass.outputs(node)) {
        const bad = notFinite(recording.value(each));
        if (bad) Object.assign(found, { node, value: bad });
      }
    const at = pass.stepOf[node];
    if (at < 0 || at >= found.step) continue;
    for (const each of pass.step(at).received) {
      const bad = notFinite(recording.value(each));
      if (bad) Object.assign(found, { step: at, gradient: bad });
    }
  }
  known.set(group, found);
  return found;
}

/** What of a folded group's values and gradients so far is not finite, as marks. */
export function groupMarks(state, group) {
  const { pass, position } = state,
    found = troubles(pass, group);
  const marks = [];
  if (found.node < position) marks.push(badMark(`value ${found.value}`, `first in ${pass.label(found.node)}`));
  if (found.step < position - pass.size) marks.push(badMark(`gradient ${found.gradient}`, "not finite"));
  return marks;
}

// Elements. Texts of the recording only ever become text nodes and attribute values, never markup.

const SVG = "http://www.w3.org/2000/svg";
const MATH = "http://www.w3.org/1998/Math/MathML";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** h("button", { class: "x", onclick: f }, "text", [more]) */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function mathml(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(MATH, tag), attributes, children);
}

/** Puts children in the place of all that was there. */
export function show(element, ...children) {
  element.replaceChildren();
  return fill(element, {}, children);
}

/** Lets screen readers say something. */
export function say(text) {
  const place = document.getElementById("said");
  if (place) place.textContent = text;
}

/** The value of a custom property of the style sheet. */
export function property(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** A button that shows whether it is on. */
export function toggle(text, on, onclick, attributes = {}) {
  return h("button", { type: "button", "aria-pressed": String(on), onclick, ...attributes }, text);
}

// Numbers as text. `exact` reads back to the very same bits in the number's own dtype; `brief` is for narrow places.

/** The shortest decimal that rounds to the float32 `x`. */
function shortestFloat32(x) {
  for (let digits = 1; digits <= 9; ++digits) {
    const text = x.toPrecision(digits);
    if (Math.fround(Number(text)) === x) return String(Number(text));
  }
  return String(x);
}

export function exact(x, dtype) {
  if (typeof x === "bigint") return x.toString();
  if (Number.isNaN(x)) return "nan";
  if (x === Infinity) return "inf";
  if (x === -Infinity) return "-inf";
  if (Object.is(x, -0)) return "-0";
  if (dtype === "bool") return x ? "true" : "false";
  return dtype === "float32" ? shortestFloat32(x) : String(x);
}

/** At most `width` characters or so; the exact text if that is short enough. */
export function brief(x, dtype, width = 7) {
  const whole = exact(x, dtype);
  if (whole.length <= width) return tidy(whole);
  if (typeof x === "bigint") return tidy(Number(x).toExponential(1));
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return tidy(x.toExponential(width > 7 ? 3 : 1));
  const digits = size >= 1000 ? 5 : width > 7 ? 5 : 3;
  return tidy(String(Number(x.toPrecision(digits))));
}

/** With the minus sign that is as wide as a plus. */
export function tidy(text) {
  return text.replace(/-/g, "\u2212");
}

export function count(n, one, many = `${one}s`) {
  return `${n} ${n === 1 ? one : many}`;
}

export function shapeText(shape) {
  return shape.length === 0 ? "scalar" : shape.join("\u00d7");
}

/** Bytes as people say them. */
export function bytesText(n) {
  const units = ["bytes", "KB", "MB", "GB"];
  let i = 0;
  while (n >= 1024 && i < 3) ((n /= 1024), ++i);
  return `${i === 0 ? n : n.toFixed(1)} ${units[i]}`;
}

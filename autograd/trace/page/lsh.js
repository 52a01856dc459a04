// LSH attention: positions, their buckets, the order by bucket, chunks with look-back, and what all rounds see.

import { attentionOf } from "./attention.js";
import { choice, choiceOf, view } from "./choices.js";
import { h, svg } from "./dom.js";
import { count } from "./numbers.js";
import { halfOf, lastTwo, matrixFigure } from "./matrices.js";
import { Heatmap } from "./heatmap.js";

/** Settings that the operation's arguments speak of: {chunk: 8, before: 1, causal: true}. */
function settingsOf(node) {
  const text = node.arguments.map(([name, value]) => (name ? `${name} = ${value}` : value)).join(", ");
  const found = {};
  for (const [, name, value] of text.matchAll(/(\w+) = (-?\d+|true|false)\b/g))
    found[name] = value === "true" ? true : value === "false" ? false : Number(value);
  return {
    before: found.chunks_before ?? 1,
    after: found.chunks_after ?? 0,
    ring: true,
    causal: true,
    same_bucket: found.mask_other_buckets ?? true,
    ...found,
  };
}

export function lshView(state, node, width) {
  if (!/lsh|chunked/.test(node.operation) || !state.computed(node.index)) return null;
  const buckets = node.inputs
    .map((input) => state.recording.value(input.value))
    .find((value) => value && /int/.test(value.dtype) && value.shape.length === 4);
  if (!buckets?.whole || buckets.size === 0) return null;
  return view("Locality-sensitive hashing", (redraw) => draw(state, node, buckets, width, redraw));
}

/** bucket(round, position), and for each round the positions in order of bucket: what the operation sorts by. */
function sorted(buckets, example, head) {
  const [, heads, rounds, length] = buckets.shape;
  const bucket = (round, position) =>
    Number(buckets.at(((example * heads + head) * rounds + round) * length + position));
  const orders = Array.from({ length: rounds }, (_, round) =>
    Array.from({ length }, (_each, i) => i).sort((a, b) => bucket(round, a) - bucket(round, b) || a - b),
  );
  return { rounds, length, bucket, orders };
}

/** hidden(position): whether padding hides it as a key; null if nothing does. */
function paddingOf(state, node, example, length) {
  const mask = state.recording.value(node.inputs.find((input) => input.name === "key_padding_mask")?.value);
  if (!mask?.whole || mask.shape.at(-1) !== length) return null;
  const row = mask.shape[0] === 1 ? 0 : example;
  return (position) => Boolean(mask.at(row * length + position));
}

/** Which query meets which key in each round: window, buckets, causality and padding as the operation has them. */
function meetings({ rounds, length, bucket, orders, hidden }, settings) {
  const chunks = Math.max(1, Math.ceil(length / settings.chunk)),
    ring = chunks * rounds;
  const seen = Array.from({ length: rounds }, () => new Uint8Array(length * length));
  const flat = orders.flatMap((order) =>
    Array.from({ length: chunks }, (_, c) => order.slice(c * settings.chunk, (c + 1) * settings.chunk)),
  );
  for (let at = 0; at < ring; ++at) {
    const round = Math.floor(at / chunks);
    for (let by = -settings.before; by <= settings.after; ++by) {
      const other = settings.ring ? (at + by + ring) % ring : at + by;
      if (other < 0 || other >= ring) continue;
      const from = Math.floor(other / chunks);
      for (const query of flat[at])
        for (const key of flat[other]) {
          if (settings.causal && key > query) continue;
          if (hidden?.(key) && !(settings.self_last && key === query)) continue;
          if (settings.same_bucket && bucket(round, query) !== bucket(from, key)) continue;
          seen[round][query * length + key] = 1;
        }
    }
  }
  return seen;
}

/** A hue for each bucket, with its number written in: the colour alone says nothing. */
function fill(bucket, many) {
  return `hsl(${Math.round((360 * bucket) / many)} 55% var(--bucket-light))`;
}

function draw(state, node, buckets, width, redraw) {
  const [examples, heads, rounds, length] = buckets.shape,
    key = `lsh${buckets.shape}`;
  const example = choiceOf(`${key}e`, examples),
    head = choiceOf(`${key}h`, heads),
    round = choiceOf(`${key}r`, rounds);
  const all = { ...sorted(buckets, example, head), hidden: paddingOf(state, node, example, length) },
    settings = settingsOf(node);
  const words = node.inputs.find((input) => input.words?.length === length)?.words;
  const found = attentionOf(state, node),
    weights = found && state.recording.value(found.pass.outputs(found.softmax)[0]);
  const parts = [
    h(
      "div",
      { class: "choices" },
      choice("example", `${key}e`, examples, redraw),
      choice("head", `${key}h`, heads, redraw),
      choice("round", `${key}r`, rounds, redraw),
    ),
    h(
      "p",
      { class: "note" },
      "Each position's vector is hashed by random rotations to a bucket, argmax([x R; \u2212x R]); positions are ",
      `sorted by bucket${settings.chunk ? ` and cut into chunks of ${settings.chunk}` : ""}. Hashing has no gradient: `,
      "buckets are constants, and the gradient flows through the scores of those that met.",
    ),
    h("h4", {}, `1. Hashing, round ${round}: a bucket for each position`),
    strip(all, round, null, settings, words, width),
    all.hidden
      ? h(
          "p",
          { class: "note" },
          "Grey with a dashed edge: padding, which no query sees",
          settings.self_last ? ", but itself." : ".",
        )
      : null,
    h("h4", {}, "2. Sorted by bucket, and in a bucket by position"),
    strip(all, round, all.orders[round], settings, words, width),
  ];
  if (!settings.chunk) return parts;
  const seen = meetings(all, settings);
  const visible = (which, i, j) => seen[which][i * length + j];
  const combined = (i, j) => seen.reduce((sum, each) => sum + each[i * length + j], 0);
  const half = halfOf(width);
  const figure = (title, number, most) =>
    h(
      "figure",
      { class: "value" },
      h("figcaption", {}, h("b", {}, title)),
      new Heatmap(length, length, number, {
        most,
        label: title,
        width: half,
        numbers: false,
        rowNames: words,
        columnNames: words,
        raw: number,
        dtype: "int32",
        text: (i, j) => String(number(i, j)),
        index: (i, j) => `query ${words?.[i] ?? i}, key ${words?.[j] ?? j}: met`,
      }).element,
    );
  parts.push(
    h(
      "p",
      { class: "note" },
      "3. The queries of a chunk see the keys of their own chunk and of ",
      `${count(settings.before, "chunk")} before${settings.after ? `, ${settings.after} after` : ""}`,
      settings.same_bucket ? ", in their own bucket" : "",
      settings.causal ? ", not after themselves." : ".",
    ),
    h(
      "div",
      { class: "steps" },
      figure(`who meets whom in round ${round}`, (i, j) => visible(round, i, j), 1),
      figure(`${count(rounds, "round")} combined: how often they meet`, combined, rounds),
    ),
  );
  parts.push(
    h(
      "p",
      { class: "note" },
      rounds > 1
        ? "4. One softmax runs over all that a query sees in all rounds: each round counts by its logsumexp, " +
            "and a pair that meets N times has log N subtracted from its score, so it is not counted N times."
        : "4. The softmax runs over what a query sees.",
    ),
  );
  if (weights?.whole && weights.shape.at(-1) === length)
    parts.push(
      matrixFigure("the weights of all rounds together", lastTwo(weights, [example, head]), {
        width: half,
        kind: "forward",
        rowNames: words,
        columnNames: words,
      }),
    );
  return parts;
}

/** Positions in a row of boxes, in chunks if they are sorted. */
function strip(all, round, order, settings, words, width) {
  const { length, bucket, hidden } = all,
    many = new Set(all.orders[round].map((i) => bucket(round, i)));
  const least = Math.min(...many),
    range = Math.max(...many) - least + 1;
  const box = Math.max(16, Math.min(30, Math.floor((width - 34) / length))),
    perRow = Math.max(1, Math.floor((width - 34) / box));
  const chunk = order && settings.chunk ? settings.chunk : length;
  const across = order && settings.chunk ? Math.max(1, Math.floor((perRow * box) / (chunk * box + 8))) : 1;
  const place = (i) => {
    if (!order || !settings.chunk || chunk > perRow) return [(i % perRow) * box, Math.floor(i / perRow) * 42];
    const c = Math.floor(i / chunk);
    return [(c % across) * (chunk * box + 8) + (i % chunk) * box, Math.floor(c / across) * 48];
  };
  const shown = order ?? Array.from({ length }, (_, i) => i);
  const boxes = shown.map((position, i) => {
    const [x, y] = place(i),
      b = bucket(round, position),
      padding = hidden?.(position);
    const style = padding ? {} : { fill: fill(b - least, range) };
    return svg(
      "g",
      { transform: `translate(${x} ${y})`, class: padding ? "padding" : null },
      svg("rect", { width: box - 1, height: 22, rx: 3, class: "bucket", style }),
      svg("text", { x: box / 2, y: 15, class: `bucket-name${String(b).length > 2 ? " long" : ""}` }, b),
      svg(
        "text",
        { x: box / 2, y: 34, class: "bucket-position" },
        words ? [...words[position]].slice(0, 4).join("") : position,
      ),
      svg(
        "title",
        {},
        `position ${position}${words ? ` (${words[position]})` : ""}: bucket ${b}${padding ? ", padding" : ""}`,
      ),
    );
  });
  const [, bottom] = place(length - 1);
  const brackets =
    order && settings.chunk && chunk <= perRow
      ? Array.from({ length: Math.ceil(length / chunk) }, (_, c) => {
          const [x, y] = place(c * chunk);
          return [
            svg("path", { class: "chunk", d: `M${x} ${y + 40}h${Math.min(chunk, length - c * chunk) * box - 2}` }),
            c > 0 && settings.before > 0 && x > 0
              ? svg("path", { class: "look-back", d: `M${x + 6} ${y + 40}q-8 8 -18 0` })
              : null,
          ];
        })
      : [];
  const said = shown
    .map(
      (position) =>
        `${words?.[position] ?? position} in ${bucket(round, position)}${hidden?.(position) ? " (padding)" : ""}`,
    )
    .join(", ");
  return svg(
    "svg",
    {
      class: "strip",
      width: Math.min(width - 34, perRow * box + 8),
      height: bottom + 50,
      role: "img",
      "aria-label": `${order ? "Sorted" : "Hashed"}: ${said}`,
    },
    boxes,
    brackets,
  );
}

// The recording behind the page: tables of numbers and texts, made into objects when somebody asks for one.

const SIZES = { float32: 4, float64: 8, int64: 8, int32: 4, bool: 1 };

function bytesOf(base64, size) {
  const text = atob(base64);
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; ++i) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function elementsOf(bytes, dtype) {
  const { buffer } = bytes;
  if (dtype === "float32") return new Float32Array(buffer);
  if (dtype === "float64") return new Float64Array(buffer);
  if (dtype === "int64") return new BigInt64Array(buffer);
  return dtype === "int32" ? new Int32Array(buffer) : bytes;
}

function float(x) {
  return typeof x === "number" ? x : x === "inf" ? Infinity : x === "-inf" ? -Infinity : NaN;
}

/** A tensor that was recorded: whole, or only its summary. */
class Value {
  constructor(recording, index) {
    this.recording = recording;
    this.index = index;
    [this.dtype, this.shape] = recording.kind(recording.table.kind[index]);
    this.size = this.shape.reduce((a, b) => a * b, 1);
    this.whole = recording.table.at[index] >= 0;
  }

  /** All elements; null if they are only summarised. */
  get data() {
    if (!this.whole) return null;
    this.elements ??= this.recording.blob(this.recording.table.at[this.index], this.dtype, this.size);
    return this.elements;
  }

  /** Element i as a number; integers beyond 2^53 stay as they are. */
  at(i) {
    const x = this.data[i];
    return typeof x === "bigint" && x <= 9007199254740991n && x >= -9007199254740991n ? Number(x) : x;
  }

  get scalar() {
    return this.whole && this.size === 1;
  }

  /** {mean, std, norm} as the program computed them. */
  get stats() {
    const at = this.recording.statsAt(this.index);
    if (at < 0) {
      const x = Number(this.at(0));
      return { mean: x, std: 0, norm: Math.abs(x) };
    }
    const [mean, std, norm] = new Float64Array(bytesOf(this.recording.stats.substr(32 * at, 32), 24).buffer);
    return { mean, std, norm };
  }

  /** {min, max, zeros, nans, infinities, histogram: {low, high, counts}}, of the finite elements. */
  get summary() {
    this.found ??= this.whole
      ? summaryOf(this)
      : summaryFrom(this.recording.table.summary[-1 - this.recording.table.at[this.index]]);
    return this.found;
  }

  /** [name, value] of the parts that were asked for. */
  get slices() {
    return (this.recording.table.slices[this.index] ?? []).map(([name, kind, at]) => {
      const part = Object.create(Value.prototype);
      const [dtype, shape] = this.recording.kind(kind);
      const size = shape.reduce((a, b) => a * b, 1);
      return [
        name,
        Object.assign(part, {
          recording: this.recording,
          index: -1,
          dtype,
          shape,
          size,
          whole: true,
          elements: this.recording.blob(at, dtype, size),
        }),
      ];
    });
  }
}

function summaryFrom([min, max, zeros, nans, infinities, low, high, counts, rows, columns, picture]) {
  const cells = new Float32Array(bytesOf(picture, 4 * rows * columns).buffer);
  return {
    min: float(min),
    max: float(max),
    zeros,
    nans,
    infinities,
    histogram: { low: float(low), high: float(high), counts },
    picture: { rows, columns, cells },
  };
}

function summaryOf(value) {
  let min = Infinity,
    max = -Infinity,
    zeros = 0,
    nans = 0,
    infinities = 0,
    finite = 0;
  const { data } = value;
  for (let i = 0; i < data.length; ++i) {
    const x = Number(data[i]);
    if (Number.isNaN(x)) ++nans;
    else if (!Number.isFinite(x)) ++infinities;
    else {
      ++finite;
      if (x === 0) ++zeros;
      if (x < min) min = x;
      if (x > max) max = x;
    }
  }
  if (finite === 0) min = max = 0;
  const bins = Math.max(1, Math.min(32, Math.ceil(Math.sqrt(finite))));
  const counts = new Array(max > min ? bins : 1).fill(0);
  for (let i = 0; i < data.length; ++i) {
    const x = Number(data[i]);
    if (!Number.isFinite(x)) continue;
    ++counts[max > min ? Math.min(bins - 1, Math.floor(bins * ((x - min) / (max - min)))) : 0];
  }
  return { min, max, zeros, nans, infinities, histogram: { low: min, high: max, counts } };
}

/** One backward pass, or the composed form of a fused operation, which is a pass of its own. */
class Pass {
  constructor(recording, json, part) {
    Object.assign(this, {
      recording,
      json,
      part,
      number: json.number,
      site: json.site,
      root: json.root,
      loss: float(json.loss),
      error: json.error,
      size: json.nodes.operation.length,
      steps: json.steps.length,
    });
    this.cache = new Map();
    this.stepOf = new Int32Array(this.size).fill(-1);
    json.steps.forEach((step, i) => {
      this.stepOf[step[0]] = i;
    });
  }

  text(column, i) {
    return this.recording.texts[this.json.nodes[column][i]];
  }

  operation(i) {
    return this.text("operation", i);
  }
  label(i) {
    return this.json.nodes.label[i];
  }
  module(i) {
    return this.text("module", i);
  }
  leaf(i) {
    return this.json.nodes.leaf[i] === 1;
  }

  /** The nodes whose outputs node i takes; -1 for constants. */
  sources(i) {
    const flat = this.json.nodes.inputs[i];
    const nodes = [];
    for (let at = 1; at < flat.length; at += 7) nodes.push(flat[at]);
    return nodes;
  }

  /** Value indices of what node i made. */
  outputs(i) {
    return this.json.nodes.outputs[i];
  }

  node(i) {
    if (!this.cache.has(i)) this.cache.set(i, this.read(i));
    return this.cache.get(i);
  }

  read(i) {
    const { texts } = this.recording;
    const records = (text) => (text === "" ? [] : text.split("\x1e").map((each) => each.split("\x1f")));
    const inputs = chunks(this.json.nodes.inputs[i], 7).map(
      ([name, node, slot, value, differentiable, rule, words]) => ({
        name: texts[name],
        node,
        slot,
        value,
        differentiable: differentiable === 1,
        rule: texts[rule],
        words: texts[words] === "" ? null : texts[words].split("\n"),
      }),
    );
    return {
      index: i,
      operation: this.operation(i),
      label: this.label(i),
      leaf: this.leaf(i),
      module: this.module(i),
      sequence: this.json.nodes.sequence[i],
      site: this.text("site", i),
      rule: this.text("rule", i),
      stack: records(this.text("stack", i)).map(([module, name, site]) => ({ module, name, site })),
      arguments: records(this.text("arguments", i)),
      inputs,
      outputs: this.outputs(i),
      saved: chunks(this.json.nodes.saved[i], 2).map(([name, value]) => ({ name: texts[name], value })),
      parts: this.json.nodes.parts[i],
      check: this.text("check", i),
    };
  }

  /** The backward step at position `at` of their order; null if there is none. */
  step(at) {
    const json = this.json.steps[at];
    if (!json) return null;
    const [node, arrivals, received, returned, sent, grads] = json;
    return {
      node,
      received,
      returned,
      sent,
      arrivals: chunks(arrivals, 7).map(([from, input, slot, value, sum, k, n]) => ({
        from,
        input,
        slot,
        value,
        sum,
        k,
        n,
      })),
      grads: chunks(grads, 3).map(([slot, before, after]) => ({ slot, before, after })),
    };
  }

  stepAt(node) {
    return this.step(this.stepOf[node]);
  }

  get updates() {
    return this.json.updates.map(([node, before, after, change, ratio]) => ({
      node,
      before,
      after,
      change,
      ratio: float(ratio),
    }));
  }

  /** The levels of its graph, by module: {module, size} and, if it is drawn, {width, height, boxes, lines}. */
  get levels() {
    if (!this.drawings) {
      const { graphs } = this.recording,
        { texts } = graphs;
      const index = (this.part ? this.recording.parts : this.recording.passes).indexOf(this);
      this.drawings = new Map(
        (this.part ? graphs.parts : graphs.passes)[index].map((level) => [texts[level[0]], level]),
      );
    }
    return this.drawings;
  }

  level(module) {
    const level = this.levels.get(module);
    if (!level) return null;
    const [, size, place, boxes] = level;
    if (place === undefined) return { module, size };
    const { texts, places } = this.recording.graphs,
      [width, height, at, lines] = places[place];
    return {
      module,
      size,
      width,
      height,
      lines,
      boxes: boxes.map(([kind, label, node, count, modules = []], i) => [
        kind,
        texts[label],
        node,
        count,
        modules.map((each) => texts[each]),
        ...at.slice(4 * i, 4 * i + 4),
      ]),
    };
  }

  /** For each node, those that take its outputs. */
  get users() {
    if (!this.usersOf) {
      this.usersOf = Array.from({ length: this.size }, () => []);
      for (let i = 0; i < this.size; ++i) for (const from of this.sources(i)) if (from >= 0) this.usersOf[from].push(i);
    }
    return this.usersOf;
  }
}

export function chunks(flat, width) {
  const all = [];
  for (let i = 0; i < flat.length; i += width) all.push(flat.slice(i, i + width));
  return all;
}

export class Recording {
  constructor(json, values, stats, graphs) {
    this.graphText = graphs;
    Object.assign(this, {
      program: json.program,
      texts: json.texts,
      sources: json.sources,
      drawn: json.drawn,
      summarised: json.summarised,
      table: json.values,
      base64: values,
      stats,
    });
    this.kinds = new Map();
    this.values = new Map();
    this.passes = json.passes.map((pass) => new Pass(this, pass, false));
    this.parts = json.parts.map((pass) => new Pass(this, pass, true));
    this.progress = json.progress.map(([number, loss, norms, ratios]) => ({
      number,
      loss: float(loss),
      norms: new Map(chunks(norms, 2).map(([name, x]) => [this.texts[name], float(x)])),
      ratios: new Map(chunks(ratios, 2).map(([name, x]) => [this.texts[name], float(x)])),
    }));
  }

  get graphs() {
    this.graphData ??= JSON.parse(this.graphText());
    return this.graphData;
  }

  /** [dtype, shape] of a text such as "float32[2, 3]". */
  kind(text) {
    if (!this.kinds.has(text)) {
      const [dtype, dims] = this.texts[text].split("[");
      this.kinds.set(text, [dtype, dims === "]" ? [] : dims.slice(0, -1).split(", ").map(Number)]);
    }
    return this.kinds.get(text);
  }

  /** Value i; null for -1. */
  value(i) {
    if (i === undefined || i < 0) return null;
    if (!this.values.has(i)) this.values.set(i, new Value(this, i));
    return this.values.get(i);
  }

  /** Where each distinct run of elements begins; and which triple of statistics is whose. */
  index() {
    const { kind, at, slices } = this.table;
    const sizes = [];
    const note = (kindText, blob) => {
      const [dtype, shape] = this.kind(kindText);
      sizes[blob] ??= Math.ceil(shape.reduce((a, b) => a * b, SIZES[dtype]) / 3) * 4;
    };
    this.statsRow = new Int32Array(at.length);
    let rows = 0;
    for (let i = 0; i < at.length; ++i) {
      if (at[i] >= 0) note(kind[i], at[i]);
      const single = at[i] >= 0 && this.kind(kind[i])[1].every((n) => n === 1);
      this.statsRow[i] = single ? -1 : rows++;
    }
    for (const parts of Object.values(slices)) for (const [, kindText, blob] of parts) note(kindText, blob);
    this.offsets = new Float64Array(sizes.length + 1);
    sizes.forEach((size, i) => {
      this.offsets[i + 1] = this.offsets[i] + size;
    });
  }

  blob(number, dtype, size) {
    if (!this.offsets) this.index();
    const text = this.base64.slice(this.offsets[number], this.offsets[number + 1]);
    return elementsOf(bytesOf(text, size * SIZES[dtype]), dtype);
  }

  statsAt(i) {
    if (!this.offsets) this.index();
    return this.statsRow[i];
  }
}

/** The recording that the document holds. */
export function load() {
  const text = (id) => document.getElementById(id).textContent;
  return new Recording(JSON.parse(text("recording")), text("values"), text("stats"), () => text("graphs"));
}

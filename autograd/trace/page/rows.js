// The rows of a tape: nodes in order of execution, in groups by module that fold.

import { productOf } from "./attention.js";

/** A group holds nodes (numbers) and groups, in order. */
function group(key, name, path, depth) {
  return { key, name, path, depth, items: [], first: -1, count: 0 };
}

const LEAVES = "parameters and inputs";

/** The tree of a pass; runs of leaves are a group of their own. */
function treeOf(pass) {
  const root = group("", "", "", -1);
  let open = [root];
  const add = (node) => {
    for (const each of open) {
      if (each.first < 0) each.first = node;
      ++each.count;
    }
    open.at(-1).items.push(node);
  };
  const enter = (name, path, node) => {
    const inner = group(`${path}@${node}`, name, path, open.length - 1);
    open.at(-1).items.push(inner);
    open.push(inner);
  };
  for (let node = 0; node < pass.size; ++node) {
    if (pass.leaf(node)) {
      let end = node;
      while (end < pass.size && pass.leaf(end)) ++end;
      if (end - node >= 4) {
        open = [root];
        enter(LEAVES, `(${LEAVES})`, node);
        for (; node < end; ++node) add(node);
        --node;
        open = [root];
        continue;
      }
      add(node);
      continue;
    }
    const path = pass.module(node);
    const names = path === "" ? [] : path.split(".");
    let same = 0;
    while (same < names.length && same + 1 < open.length && open[same + 1].name === names[same]) ++same;
    open.length = same + 1;
    for (; same < names.length; ++same) enter(names[same], names.slice(0, same + 1).join("."), node);
    add(node);
  }
  return root;
}

/** A module that holds one module and nothing else is one group with it: "layers.0". */
function merged(each) {
  each.items = each.items.map((item) => (typeof item === "number" ? item : merged(item)));
  while (each.depth >= 0 && each.items.length === 1 && typeof each.items[0] !== "number") {
    const only = each.items[0];
    each = { ...only, name: `${each.name}.${only.name}`, depth: each.depth };
  }
  return each;
}

function deepen(each, depth) {
  each.depth = depth;
  for (const item of each.items) if (typeof item !== "number") deepen(item, depth + 1);
}

const VIEWED = /attention|^(lstm|gru|rnn|recurrent)$/;

/** The nodes that have a view of their own, in order. */
export function viewedNodes(pass) {
  const nodes = [];
  for (let node = 0; node < pass.size; ++node) {
    const operation = pass.operation(node);
    if (VIEWED.test(operation) || (operation === "softmax" && productOf(pass, node) !== undefined)) nodes.push(node);
  }
  return nodes;
}

export class Rows {
  constructor(pass) {
    this.pass = pass;
    this.root = merged(treeOf(pass));
    deepen(this.root, -1);
    this.closed = new Set();
    this.groups = [];
    const visit = (each) => {
      for (const item of each.items) {
        if (typeof item === "number") continue;
        this.groups.push(item);
        visit(item);
      }
    };
    visit(this.root);
    if (pass.size > 40) this.fold((each) => each.path.startsWith("(") || each.depth >= 1 || pass.size > 2000);
    this.lay();
    this.showsView();
  }

  /** Opens what hides the first node with a view of its own: attention, hashing, a recurrent net. */
  showsView() {
    const [first] = viewedNodes(this.pass);
    if (first !== undefined) this.reveal(first);
  }

  fold(which) {
    for (const each of this.groups) if (which(each)) this.closed.add(each.key);
  }

  /** The list of rows: {node} or {group, open}, with depth; and which row shows a node. */
  lay() {
    this.rows = [];
    this.rowOf = new Int32Array(this.pass.size).fill(-1);
    const hide = (each, row) => {
      for (const item of each.items) typeof item === "number" ? (this.rowOf[item] = row) : hide(item, row);
    };
    const visit = (each) => {
      for (const item of each.items) {
        if (typeof item === "number") {
          this.rowOf[item] = this.rows.length;
          this.rows.push({ node: item, depth: each.depth + 1 });
          continue;
        }
        const open = !this.closed.has(item.key);
        this.rows.push({ node: -1, group: item, open, depth: item.depth });
        open ? visit(item) : hide(item, this.rows.length - 1);
      }
    };
    visit(this.root);
    this.lives = null;
  }

  toggle(each, open) {
    open ? this.closed.delete(each.key) : this.closed.add(each.key);
    this.lay();
  }

  /** Opens the groups around a node. */
  reveal(node) {
    let changed = false;
    const visit = (each) => {
      for (const item of each.items) {
        if (typeof item === "number" || node < item.first || node >= item.first + item.count) continue;
        if (this.closed.delete(item.key)) changed = true;
        visit(item);
      }
    };
    visit(this.root);
    if (changed) this.lay();
    return this.rowOf[node];
  }

  /** Row of a node, or of the closed group that hides it. */
  row(node) {
    return this.rowOf[node];
  }

  /**
   * The life of each value, from the row that makes it to the last that takes it, in lanes where they do not meet:
   * lanes[i] is a list of {from, to, node}, in order. Of lives that find no lane the rows' names speak.
   */
  lanes(most) {
    if (this.lives?.most === most) return this.lives.lanes;
    const lanes = Array.from({ length: most }, () => []);
    const { users } = this.pass;
    const last = new Map();
    for (let node = 0; node < this.pass.size; ++node) {
      const from = this.rowOf[node];
      let to = from;
      for (const user of users[node]) to = Math.max(to, this.rowOf[user]);
      if (to === from || (this.pass.leaf(node) && to - from > 24)) continue;
      const known = last.get(from); // a closed group has one rail
      if (known) {
        known.to = Math.max(known.to, to);
        known.nodes.push(node);
        continue;
      }
      last.set(from, { from, to, nodes: [node] });
    }
    for (const life of [...last.values()].sort((a, b) => a.from - b.from)) {
      const free = lanes.find((lane) => lane.length === 0 || lane.at(-1).to <= life.from);
      if (free) free.push(life);
    }
    this.lives = { most, lanes };
    return lanes;
  }
}

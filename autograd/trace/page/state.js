// What the page shows at the moment: which pass, how far along its timeline, which node. Everything drawn is a function
// of this and of the recording, so going back is no undoing.

export class State {
  constructor(recording) {
    this.recording = recording;
    this.listeners = [];
    this.trail = []; // the pass, and the composed forms that were stepped into: {pass, position, selected}
    this.passIndex = 0;
    this.element = null; // the chosen element of the gradient in the formula, an index
    if (recording.passes.length) this.enter(recording.passes[0], Infinity);
  }

  get frame() {
    return this.trail.at(-1);
  }
  get pass() {
    return this.frame?.pass ?? null;
  }
  get position() {
    return this.frame?.position ?? 0;
  }
  get selected() {
    return this.frame?.selected ?? -1;
  }
  /** Ticks of the timeline: every node forwards, every step backwards. */
  get length() {
    return this.pass ? this.pass.size + this.pass.steps : 0;
  }
  get backward() {
    return this.pass !== null && this.position > this.pass.size;
  }

  subscribe(listener) {
    this.listeners.push(listener);
  }
  changed(what) {
    for (const listener of this.listeners) listener(what);
  }

  enter(pass, position) {
    this.trail.push({
      pass,
      position: Math.min(position, pass.size + pass.steps),
      selected: Math.min(Math.max(pass.root, 0), pass.size - 1),
    });
    this.element = null;
  }

  /** The node that the tick before `position` is about; -1 at the beginning. */
  nodeAt(position) {
    if (position <= 0 || !this.pass) return -1;
    return position <= this.pass.size ? position - 1 : this.pass.json.steps[position - this.pass.size - 1][0];
  }

  goTo(position) {
    if (!this.pass) return;
    const to = Math.max(0, Math.min(this.length, position));
    if (to === this.position) return;
    this.frame.position = to;
    const node = this.nodeAt(to);
    if (node >= 0 && node !== this.selected) {
      this.frame.selected = node;
      this.element = null;
    }
    this.changed("position");
  }

  select(node) {
    if (!this.pass || node < 0 || node >= this.pass.size || node === this.selected) return;
    this.frame.selected = node;
    this.element = null;
    this.changed("selected");
  }

  choose(element) {
    this.element = element;
    this.changed("element");
  }

  openPass(index) {
    const pass = this.recording.passes[index];
    if (!pass) return;
    this.passIndex = index;
    this.trail = [];
    this.enter(pass, Infinity);
    this.changed("pass");
  }

  /** Opens the composed form of the selected node. */
  stepInto() {
    const part = this.pass && this.selected >= 0 ? this.recording.parts[this.pass.node(this.selected).parts] : null;
    if (!part || part.size === 0) return false;
    this.enter(part, this.stepped(this.selected) ? Infinity : part.size);
    this.changed("pass");
    return true;
  }

  stepOut(levels = 1) {
    if (this.trail.length <= levels) return false;
    this.trail.splice(this.trail.length - levels);
    this.element = null;
    this.changed("pass");
    return true;
  }

  // ---- what has happened by now

  computed(node) {
    return node < this.position;
  }
  /** Whether the backward step of a node has been taken. */
  stepped(node) {
    const step = this.pass.stepOf[node];
    return step >= 0 && step < this.position - this.pass.size;
  }
  /** Whether an arrival has come: when the step that sent it is taken. */
  arrived(arrival) {
    return arrival.from < 0 ? this.position > this.pass.size : this.stepped(arrival.from);
  }
  /** The value index of a node's gradient so far, of output `slot`; -1 if nothing has come. */
  gradient(node, slot = 0) {
    const step = this.backward ? this.pass.stepAt(node) : null;
    if (!step) return -1;
    if (this.stepped(node)) return step.received[slot] ?? -1;
    const last = step.arrivals.filter((arrival) => arrival.slot === slot && this.arrived(arrival)).at(-1);
    return last ? last.sum : -1;
  }
}

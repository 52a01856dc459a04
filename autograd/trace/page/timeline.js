// The timeline: plays the forward pass and then the backward pass, and rewinds.

import { h, say, show } from "./dom.js";
import { count } from "./numbers.js";

const SPEEDS = [1, 2, 5, 20, 100];

export class Timeline {
  constructor(state) {
    this.state = state;
    this.playing = 0; // 1 forwards, -1 backwards
    this.speed = 2;
    const button = (name, text, keys, act) =>
      h(
        "button",
        {
          type: "button",
          class: "round",
          id: `timeline-${name}`,
          title: `${text} (${keys})`,
          "aria-label": text,
          "aria-keyshortcuts": keys,
          onclick: act,
        },
        h("span", { "aria-hidden": "true", class: `icon ${name}` }),
      );
    this.play = button("play", "Play", "Space", () => this.toggle(1));
    this.rewind = button("rewind", "Rewind step by step", "r", () => this.toggle(-1));
    this.slider = h("input", {
      type: "range",
      min: 0,
      max: 0,
      value: 0,
      id: "timeline-slider",
      "aria-label": "Timeline",
      oninput: () => {
        this.stop();
        state.goTo(Number(this.slider.value));
      },
    });
    this.pace = h(
      "select",
      {
        "aria-label": "Steps a second",
        title: "Steps a second",
        onchange: () => {
          this.speed = Number(this.pace.value);
          if (this.playing) this.start(this.playing);
        },
      },
      SPEEDS.map((speed) => h("option", { value: speed, selected: speed === this.speed }, `${speed}/s`)),
    );
    this.text = h("output", { class: "timeline-text", id: "timeline-text" });
    this.bar = h("div", { class: "timeline-bar", "aria-hidden": "true" });
    this.element = h(
      "footer",
      { class: "timeline", role: "group", "aria-label": "Timeline" },
      h(
        "div",
        { class: "timeline-buttons" },
        button("start", "To the beginning", "Shift+b", () => this.go(0)),
        this.rewind,
        button("back", "Back one step", "b", () => this.step(-1)),
        this.play,
        button("next", "Next step", "n", () => this.step(1)),
        button("end", "To the end", "Shift+n", () => this.go(Infinity)),
      ),
      h("div", { class: "timeline-track" }, this.bar, this.slider),
      this.text,
      this.pace,
    );
    state.subscribe(() => this.draw());
    this.draw();
  }

  draw() {
    const { state } = this,
      { pass, position, length } = state;
    this.slider.max = length;
    this.slider.value = position;
    const text = this.describe();
    this.slider.setAttribute("aria-valuetext", text);
    show(this.text, text);
    const share = length ? (100 * pass.size) / length : 50;
    this.bar.style.setProperty("--split", `${share}%`);
    this.bar.style.setProperty("--at", `${length ? (100 * position) / length : 0}%`);
    this.element.classList.toggle("back", state.backward);
    for (const [element, direction] of [
      [this.play, 1],
      [this.rewind, -1],
    ])
      element.classList.toggle("playing", this.playing === direction);
    this.play.setAttribute("aria-label", this.playing === 1 ? "Pause" : "Play");
  }

  describe() {
    const { pass, position } = this.state;
    if (!pass) return "nothing to play";
    if (position === 0) return `before the first of ${count(pass.size, "operation")}`;
    if (position <= pass.size) return `forward ${position} of ${pass.size}`;
    const step = position - pass.size;
    const ended = step === pass.steps && pass.error ? ", ended early" : "";
    return `backward ${step} of ${pass.steps}${ended}`;
  }

  step(by) {
    this.stop();
    this.state.goTo(this.state.position + by);
    const node = this.state.nodeAt(this.state.position);
    say(`${this.describe()}${node >= 0 ? `: ${this.state.pass.label(node)} ${this.state.pass.operation(node)}` : ""}`);
  }

  go(position) {
    this.stop();
    this.state.goTo(Math.min(position, this.state.length));
    say(this.describe());
  }

  toggle(direction) {
    this.playing === direction ? this.stop() : this.start(direction);
  }

  start(direction) {
    this.stop();
    const { state } = this;
    if (direction > 0 && state.position >= state.length) state.goTo(0);
    this.playing = direction;
    this.timer = setInterval(() => {
      const before = state.position;
      state.goTo(before + direction);
      if (state.position === before) this.stop();
    }, 1000 / this.speed);
    this.draw();
  }

  stop() {
    clearInterval(this.timer);
    if (this.playing) {
      this.playing = 0;
      this.draw();
    }
  }
}

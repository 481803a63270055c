// Hear a recording from the passage that matches, and see where that is. One plays at a time.

import { clock, make, redrawn, still } from "../dom.js";
import * as service from "../service.js";
import { drawWave } from "./wave.js";

const STEP = 5; // seconds that an arrow key moves

let playing = null; // the element that is heard now

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    target.dispatchEvent(new Event("seen"));
  }
});

/** Stop what is heard, as it goes from the page. */
export const hush = () => playing?.pause();

export class Player {
  /** Make a player of `{title, media, waveform, seconds, start, passage}`; `tag` is audio or video. */
  constructor(hit, tag = "audio") {
    this.hit = hit;
    this.start = hit.start ?? 0;
    this.wanted = this.start; // seconds, where playing begins once the file is open
    this.begun = false; // only the first play goes to the passage: then whoever listens decides
    this.peaks = null;
    this.sound = make(tag, { preload: "none", playsinline: tag === "video" });
    this.button = make("button", { type: "button", class: "play", on: { click: () => this.toggle() } });
    this.wave = make("canvas", {
      class: "wave", role: "slider", tabindex: 0, "aria-label": `Position in ${hit.title}`, "aria-valuemin": 0,
    });
    this.time = make("span", { class: "time" });
    this.told = make("p", { class: "quiet", role: "status", hidden: true });
    this.listen();
    this.show();
    const again = { click: () => this.again() };
    const jump = make("button", { type: "button", class: "plain", text: `best from ${clock(this.start)}`, on: again });
    const under = make("p", { class: "under quiet" }, this.time, hit.start == null ? null : jump);
    this.element = make("div", { class: `player ${tag}` }, this.button, this.wave, this.sound, under, this.told);
  }

  listen() {
    this.sound.addEventListener("loadedmetadata", () => {
      this.sound.currentTime = this.wanted;
      this.show();
    });
    for (const name of ["play", "pause", "ended", "seeked"]) this.sound.addEventListener(name, () => this.follow());
    this.sound.addEventListener("timeupdate", () => this.show());
    this.sound.addEventListener("error", () => this.failed());
    this.wave.addEventListener("click", (event) => this.point(event));
    this.wave.addEventListener("keydown", (event) => this.key(event));
    this.wave.addEventListener("seen", () => this.look());
    seen.observe(this.wave);
    redrawn(this.wave, () => this.show());
  }

  get length() {
    return Number.isFinite(this.sound.duration) ? this.sound.duration : this.hit.seconds || 0;
  }

  get now() {
    return this.begun && this.sound.readyState ? this.sound.currentTime : this.wanted;
  }

  /** Read the waveform, once it is in sight. */
  async look() {
    try {
      const { peaks, seconds } = await service.waveform(this.hit.waveform);
      this.peaks = peaks;
      this.hit.seconds = seconds;
    } catch {
      this.peaks = null; // it plays without
    }
    this.show();
  }

  seek(seconds) {
    this.wanted = Math.min(Math.max(0, seconds), Math.max(0, this.length - 0.1));
    this.begun = true;
    if (this.sound.readyState) this.sound.currentTime = this.wanted;
    this.show();
  }

  async play() {
    if (!this.sound.src) this.open(this.hit.media);
    if (!this.begun || this.sound.ended) this.seek(this.start);
    if (playing !== this.sound) playing?.pause();
    playing = this.sound;
    await this.sound.play().catch(() => {}); // an "error" event tells why, or it was paused at once
  }

  open(address) {
    this.sound.src = `${address}#t=${this.wanted}`;
    this.sound.load();
  }

  toggle() {
    if (this.sound.paused) this.play();
    else this.sound.pause();
  }

  again() {
    this.seek(this.start);
    this.play();
  }

  /** Where a browser cannot read a file, the service decodes it. */
  failed() {
    if (!this.sound.src) return;
    if (this.sound.src.includes("as=wav")) {
      this.told.hidden = false;
      this.told.textContent = "It cannot be played here.";
      return;
    }
    this.open(`${this.hit.media}?as=wav`);
    if (playing === this.sound) this.sound.play().catch(() => {});
  }

  point({ clientX }) {
    const { left, width } = this.wave.getBoundingClientRect();
    this.seek(((clientX - left) / width) * this.length);
    this.play();
  }

  key(event) {
    const { key } = event;
    const target = { ArrowRight: this.now + STEP, ArrowLeft: this.now - STEP, Home: 0, End: this.length }[key];
    if (target === undefined && key !== "Enter" && key !== " ") return;
    event.preventDefault();
    if (target === undefined) this.toggle();
    else this.seek(target);
  }

  follow() {
    this.show();
    if (!this.sound.paused && !still.matches && this.wave.isConnected) requestAnimationFrame(() => this.follow());
  }

  show() {
    const [at, whole] = [this.now, this.length];
    this.time.textContent = whole ? `${clock(at)} / ${clock(whole)}` : clock(at);
    this.wave.setAttribute("aria-valuemax", whole.toFixed(1));
    this.wave.setAttribute("aria-valuenow", at.toFixed(1));
    this.wave.setAttribute("aria-valuetext", whole ? `${clock(at)} of ${clock(whole)}` : clock(at));
    const on = !this.sound.paused && !this.sound.ended;
    this.button.classList.toggle("on", on);
    const told = on ? `Pause ${this.hit.title}` : `Play ${this.hit.title} from ${clock(at)}`;
    if (this.button.getAttribute("aria-label") !== told) this.button.setAttribute("aria-label", told);
    const { start, passage } = this.hit;
    drawWave(this.wave, { peaks: this.peaks, whole, heard: this.begun ? at : 0, start, passage });
  }
}

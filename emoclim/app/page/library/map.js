// The map of a library: near points sound alike to it; colour and shape say the emotion; a click plays.

import { byId, count, make, named, percent, redrawn } from "../dom.js";
import { drawShape, inkOf, NONE } from "../emotions.js";
import { card } from "../hearing/card.js";
import * as service from "../service.js";
import { state, when } from "../state.js";
import { Plot } from "./plot.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const DRAG = 4; // CSS pixels from which a press is a move and no click

let plot;
let rows = [];
let classes = [];
let of = null; // id of the library that is drawn

const tell = (text) => (byId("map-status").textContent = text);

async function load() {
  const id = state.library?.id;
  if (!id || id === of || byId("view-map").hidden) return;
  of = id;
  byId("map-told").textContent = "Laying out …";
  try {
    const found = await service.map(id);
    if (of !== id) return;
    ({ rows, classes } = found);
    plot.set(found.points, found.emotions.map((kind) => kind ?? NONE));
    legend();
    byId("map-told").textContent = explained(found);
  } catch (error) {
    of = null;
    plot.set([], []);
    byId("legend").replaceChildren();
    byId("map-told").textContent = error.message;
  }
  byId("map-hit").replaceChildren();
  const label = `Map of ${state.library.name}: ${count(rows.length, "item", "items")}`;
  byId("map").setAttribute("aria-label", label);
  plot.draw();
}

function explained({ explained: shares, sampled }) {
  const parts = ["Near points are alike to the model."];
  const share = shares?.reduce((sum, one) => sum + one, 0);
  if (share) parts.push(`The two axes hold ${percent(share)} of the differences.`);
  const all = state.library.items.toLocaleString("en");
  if (sampled) parts.push(`${count(rows.length, "item", "items")} of ${all}, by lot.`);
  return parts.join(" ");
}

function swatch(kind) {
  const canvas = make("canvas", { width: 40, height: 40, "aria-hidden": "true" });
  const draw = () => {
    const context = canvas.getContext("2d");
    context.setTransform(2, 0, 0, 2, 0, 0);
    context.clearRect(0, 0, 20, 20);
    inkOf(context, kind);
    drawShape(context, kind, 10, 10, 6);
  };
  redrawn(canvas, draw);
  return canvas;
}

/** Say which colour and shape is which emotion; each can be hidden. */
function legend() {
  const shown = (kind) => ({ target }) => {
    plot.shown[target.checked ? "add" : "delete"](kind);
    if (plot.current >= 0 && !plot.isShown(plot.current)) plot.current = -1;
    plot.draw();
  };
  const entries = [...classes.entries(), [NONE, "none read"]].map(([kind, name]) => {
    const number = plot.kinds.filter((one) => one === kind).length;
    if (!number) return null;
    const box = make("input", { type: "checkbox", checked: true, on: { change: shown(kind) } });
    const told = make("span", { class: "quiet", text: number.toLocaleString("en") });
    return make("li", {}, make("label", {}, box, swatch(kind), named(name), told));
  });
  byId("legend").replaceChildren(...entries.filter(Boolean));
}

/** Show and, if wanted, play the point that is current. */
async function hear(play) {
  const place = plot.current;
  if (place < 0) return;
  const [id, row, emotion] = [of, rows[place], classes[plot.kinds[place]] ?? "no emotion read"];
  try {
    const item = await service.item(id, row);
    if (place !== plot.current || id !== of) return;
    tell(`${item.id}, ${emotion}${play ? ", playing" : ""}`);
    byId("map-hit").querySelector("audio, video")?.pause();
    const shown = card(item, null, state.library.modality);
    const read = make("p", { class: "read" }, swatch(plot.kinds[place]), named(emotion));
    byId("map-hit").replaceChildren(read, make("ul", { class: "cards" }, shown));
    if (play) shown.querySelector(".play")?.click();
  } catch (error) {
    tell(error.message);
  }
}

function keys(event) {
  const { key } = event;
  if (ARROWS[key]) plot.go(plot.next(ARROWS[key]));
  else if (key === "+" || key === "-") plot.scale(key === "+");
  else if (key !== "Enter" && key !== " ") return;
  event.preventDefault();
  if (ARROWS[key]) hear(false);
  else if (key === "Enter" || key === " ") hear(true);
}

function pointing(canvas) {
  let pressed = null;
  const place = ({ clientX, clientY }) => {
    const { left, top } = canvas.getBoundingClientRect();
    return plot.nearest(clientX - left, clientY - top);
  };
  canvas.addEventListener("pointerdown", (event) => {
    pressed = { x: event.clientX, y: event.clientY, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pressed) return canvas.classList.toggle("over", place(event) >= 0);
    const [dx, dy] = [event.clientX - pressed.x, event.clientY - pressed.y];
    if (!pressed.moved && Math.hypot(dx, dy) < DRAG) return;
    plot.move(dx, dy);
    pressed = { x: event.clientX, y: event.clientY, moved: true };
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!pressed?.moved && place(event) >= 0) {
      plot.go(place(event));
      hear(true);
    }
    pressed = null;
  });
  canvas.addEventListener("pointercancel", () => (pressed = null));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // as on other maps, a wheel alone goes on through the page
    event.preventDefault();
    plot.scale(event.deltaY < 0);
  }, { passive: false });
}

export function startMap() {
  const canvas = byId("map");
  plot = new Plot(canvas);
  canvas.addEventListener("keydown", keys);
  pointing(canvas);
  byId("nearer").addEventListener("click", () => plot.scale(true));
  byId("farther").addEventListener("click", () => plot.scale(false));
  redrawn(canvas, () => plot.draw());
  when("tab-map", load);
  when("library", load);
  when("about", () => {
    of = null; // a library may have grown
    load();
  });
}

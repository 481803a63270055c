// Ask by a mood instead of a photo: a point between unpleasant and pleasant, calm and excited.
// The two sliders are the way by keyboard; the pad shows the same point, and takes a pointer.

import { brush, byId, colour, redrawn, settled } from "../dom.js";
import { drawShape, inkOf } from "../emotions.js";
import { setPoint, state, when } from "../state.js";

const EDGE = 22; // CSS pixels around the square
const LINE = 13; // CSS pixels from line to line

/** The emotions that lie nearest to a place; often several lie at one. */
function near([valence, arousal]) {
  const far = ([, [v, a]]) => Math.hypot(v - valence, a - arousal);
  const placed = Object.entries(state.about.coordinates ?? {});
  const least = Math.min(...placed.map(far));
  return placed.filter((one) => far(one) - least < 1e-6).map(([name]) => name);
}

/** Write a word beside its mark, above it or below, or nowhere if both are taken. */
function write(context, width, taken, name, x, y) {
  const half = context.measureText(name).width / 2;
  const middle = Math.min(width - half - 2, Math.max(half + 2, x));
  const far = (line) => ([x0, y0, other]) => Math.abs(x0 - middle) > half + other || Math.abs(y0 - line) > LINE;
  const free = (line) => taken.every(far(line));
  const line = [y - 9, y + 18].find(free);
  if (line === undefined) return;
  taken.push([middle, line, half]);
  context.fillText(name, middle, line);
}

/** Draw the axes and their ends; return where words are then. */
function drawAxes(context, at, width, height) {
  context.strokeStyle = colour("--line");
  for (const ends of [[[-1, 0], [1, 0]], [[0, -1], [0, 1]]]) {
    context.beginPath();
    for (const end of ends) context.lineTo(...at(end));
    context.stroke();
  }
  context.fillStyle = colour("--quiet");
  context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const [x, y] = at([0, 0]);
  const halves = (word) => context.measureText(word).width / 2;
  const ends = [["unpleasant", 4 + halves("unpleasant"), y - 4], ["pleasant", width - 4 - halves("pleasant"), y - 4],
    ["excited", x, 14], ["calm", x, height - 6]];
  context.textAlign = "center";
  for (const [word, ...place] of ends) context.fillText(word, ...place);
  return ends.map(([word, ...place]) => [...place, halves(word)]);
}

function drawPad(pad, point) {
  const { context, width, height } = brush(pad);
  if (width < 2 * EDGE) return;
  const at = ([valence, arousal]) => [
    EDGE + ((valence + 1) / 2) * (width - 2 * EDGE),
    EDGE + ((1 - arousal) / 2) * (height - 2 * EDGE),
  ];
  const taken = drawAxes(context, at, width, height);
  context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  context.textAlign = "center";
  const marked = new Set(); // several emotions may lie at one place, of which the first is drawn
  state.about?.classes?.forEach((name, index) => {
    const place = state.about.coordinates?.[name];
    if (!place || marked.has(`${place}`)) return;
    marked.add(`${place}`);
    inkOf(context, index);
    drawShape(context, index, ...at(place), 4);
    context.fillStyle = colour("--ink");
    write(context, width, taken, name, ...at(place));
  });
  context.beginPath();
  context.arc(...at(point), 9, 0, 2 * Math.PI);
  context.strokeStyle = colour("--accent");
  context.lineWidth = 3;
  context.stroke();
}

export function startPad() {
  const pad = byId("pad");
  const sliders = [byId("valence"), byId("arousal")];
  const ask = settled(() => setPoint(point()));
  const point = () => sliders.map((slider) => Number(slider.value));

  const draw = () => drawPad(pad, point());

  function moved() {
    const [valence, arousal] = point();
    const words = [valence < 0 ? "unpleasant" : "pleasant", arousal < 0 ? "calm" : "excited"];
    sliders[0].setAttribute("aria-valuetext", `${words[0]} ${Math.abs(valence)}`);
    sliders[1].setAttribute("aria-valuetext", `${words[1]} ${Math.abs(arousal)}`);
    const named = near([valence, arousal]);
    byId("place").textContent = named.length ? `nearest: ${named.join(", ")}` : "";
    draw();
    ask();
  }

  function follow(event) {
    const { left, top, width, height } = pad.getBoundingClientRect();
    const share = (offset, whole) => Math.min(1, Math.max(0, (offset - EDGE) / (whole - 2 * EDGE)));
    sliders[0].value = 2 * share(event.clientX - left, width) - 1;
    sliders[1].value = 1 - 2 * share(event.clientY - top, height);
    moved();
  }

  for (const slider of sliders) slider.addEventListener("input", moved);
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    follow(event);
  });
  pad.addEventListener("pointermove", (event) => event.buttons && follow(event));
  redrawn(pad, draw);
  when("about", () => {
    const known = state.about.coordinates !== null && Object.keys(state.about.coordinates ?? {}).length > 0;
    byId("padded").hidden = !known;
    byId("unplaced").hidden = known;
    byId("unplaced").textContent = "No published coordinates are known for the emotions here.";
    draw();
  });
}

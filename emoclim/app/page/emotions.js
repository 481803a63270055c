// How emotions look: each has a colour and a shape, so that it is known without seeing colours.

import { colour, make, named, percent } from "./dom.js";

const COLOURS = 8;
const SHAPES = ["circle", "square", "triangle", "diamond", "plus", "cross", "ring"];

let classes = [];

/** Give emotions their places, by which they are drawn; such as are named by nobody get one when they are first met. */
export function nameEmotions(names) {
  classes = [...names];
}

export const NONE = -1; // where no emotion is read

export const hue = (index) => (index === NONE ? "--quiet" : `--hue-${index % COLOURS}`);

export function hueOf(name) {
  if (!classes.includes(name)) classes.push(name);
  return hue(classes.indexOf(name));
}

/** The likeliest emotions, the likeliest first. */
export function strongest(emotions, most = 3) {
  const ordered = Object.entries(emotions ?? {}).sort((one, other) => other[1] - one[1]);
  return ordered.slice(0, most);
}

export const told = (emotions) =>
  strongest(emotions, 2)
    .filter(([, share]) => share >= 0.05)
    .map(([name, share]) => `${name} ${percent(share)}`)
    .join(", ");

/** Emotions as bars, with names and numbers as text. */
export function bars(emotions, label, most) {
  const rows = strongest(emotions, most).map(([name, share]) =>
    make("li", {},
      named(name, { class: "name" }),
      bar(share, hueOf(name)),
      make("span", { class: "number", text: percent(share) })),
  );
  return make("ul", { class: "bars", "aria-label": label }, ...rows);
}

export const bar = (share, name, kind = "") =>
  make("span", {
    class: `bar ${kind}`, "aria-hidden": "true", vars: { "--share": `${share}`, "--own": `var(${name})` },
  });

/** Draw the shape of an emotion at a place of a canvas. */
export function drawShape(context, index, x, y, size) {
  const shape = index === NONE ? "ring" : SHAPES[index % SHAPES.length];
  context.beginPath();
  if (shape === "circle" || shape === "ring") context.arc(x, y, size, 0, 2 * Math.PI);
  if (shape === "square") context.rect(x - size * 0.85, y - size * 0.85, size * 1.7, size * 1.7);
  if (shape === "triangle") path(context, x, y, size * 1.2, [[0, -1], [0.9, 0.75], [-0.9, 0.75]]);
  if (shape === "diamond") path(context, x, y, size * 1.25, [[0, -1], [0.8, 0], [0, 1], [-0.8, 0]]);
  if (shape === "plus" || shape === "cross") {
    const turn = shape === "plus" ? 0 : Math.PI / 4;
    for (const angle of [turn, turn + Math.PI / 2]) {
      const [dx, dy] = [Math.cos(angle) * size * 1.2, Math.sin(angle) * size * 1.2];
      context.moveTo(x - dx, y - dy);
      context.lineTo(x + dx, y + dy);
    }
  }
  if (shape === "ring" || shape === "plus" || shape === "cross") context.stroke();
  else context.fill();
}

function path(context, x, y, size, corners) {
  for (const [dx, dy] of corners) context.lineTo(x + dx * size, y + dy * size);
  context.closePath();
}

/** Set how a context draws an emotion. */
export function inkOf(context, index) {
  context.fillStyle = context.strokeStyle = colour(hue(index));
  context.lineWidth = 2;
}

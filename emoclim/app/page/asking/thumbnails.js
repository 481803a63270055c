// Small pictures of the photos that are searched with. They are painted, so that a file needs no address of its own.

import { make } from "../dom.js";

const opened = new WeakMap(); // by file, the promise of its picture

/** A square of a photo, `side` CSS pixels wide; nothing where the file is no picture that browsers can show. */
export function thumbnail(file, side) {
  if (!file?.type.startsWith("image/")) return null;
  if (!opened.has(file)) opened.set(file, createImageBitmap(file));
  const canvas = make("canvas", { width: 2 * side, height: 2 * side, class: "thumb", "aria-hidden": "true" });
  opened.get(file).then((picture) => paint(canvas, picture), () => canvas.remove());
  return canvas;
}

function paint(canvas, picture) {
  const scale = Math.max(canvas.width / picture.width, canvas.height / picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
}

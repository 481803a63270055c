// Small tools of every part of the page. Text is only ever set as text, never as markup.

export const byId = (id) => document.getElementById(id);

/** Make an element: `on` holds listeners, `vars` CSS variables, `text` its text; other names are attributes. */
export function make(tag, { on = {}, vars = {}, text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  for (const [name, value] of Object.entries(vars)) element.style.setProperty(name, value);
  if (text != null) element.textContent = text;
  element.append(...children.filter((child) => child != null));
  return element;
}

/** A name of a file or of a person: isolated, so that no mark in it turns the text around it. */
export const named = (text, attributes = {}) => make("bdi", { ...attributes, text });

/** The last part of a path, of this system or of another. */
export const lastPart = (path) => `${path}`.split(`${path}`.includes("/") ? "/" : "\\").pop();

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds || 0));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const two = (part) => `${part}`.padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

export const percent = (share) => `${Math.round(100 * share)} %`;
export const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export const still = matchMedia("(prefers-reduced-motion: reduce)");

/** Size a canvas to its box in real pixels, and return its context, with lengths in CSS pixels. */
export function brush(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return { context, width, height };
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Draw now, and again whenever its size or the theme changes. */
export function redrawn(canvas, draw) {
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

/** Call a function once it was asked for and not again for a while. */
export function settled(call, wait = 250) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(call, wait);
  };
}

/** Tell what went wrong, in the one place for it; nothing clears it. */
export function alarm(message = "") {
  const place = byId("alert");
  place.hidden = !message;
  place.textContent = message;
}

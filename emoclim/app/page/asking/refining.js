// Refine a search: how many, emotion against content, and which part of the library.

import { byId, clock, make, settled } from "../dom.js";
import { changed, state, when } from "../state.js";

const ENDLESS = 1e9; // seconds
const FILTERS = ["emotion", "folder", "format"];

/** Read "3:20", "200" or nothing as seconds; null for nothing, NaN for what is neither. */
export function seconds(text) {
  const parts = text.trim().split(":").filter(Boolean);
  if (!parts.length) return null;
  if (!parts.every((part) => /^\d+(\.\d+)?$/.test(part))) return NaN;
  return parts.reduce((sum, part) => 60 * sum + Number(part), 0);
}

function length() {
  const fields = [byId("shortest"), byId("longest")];
  const [low, high] = fields.map((field) => seconds(field.value));
  const wrong = [Number.isNaN(low), Number.isNaN(high) || (high !== null && low > high)];
  fields.forEach((field, place) => {
    field.setAttribute("aria-invalid", `${wrong[place]}`);
    field.setCustomValidity(wrong[place] ? "Write minutes:seconds such as 3:20, the shorter first." : "");
    if (wrong[place]) field.reportValidity();
  });
  if (wrong.some(Boolean) || (low === null && high === null)) return null;
  return [low ?? 0, high ?? ENDLESS];
}

function readFilters() {
  const [emotion, folder, format] = FILTERS.map((name) => byId(`only-${name}`).value);
  const range = length();
  state.only = {
    ...(emotion && { emotion }),
    ...(folder && { folder }),
    ...(format && { formats: [format] }),
    ...(range && { seconds: range }),
  };
  tellFilters();
  changed("query");
}

function tellFilters() {
  const { emotion, folder, formats, seconds: range } = state.only;
  const told = [state.emotion < 100 && byId("shares").textContent, emotion, folder, formats?.[0]];
  if (range) told.push(`${clock(range[0])} to ${range[1] === ENDLESS ? "any" : clock(range[1])}`);
  byId("refined").textContent = told.filter(Boolean).join(", ");
}

function tellShares() {
  state.emotion = Number(byId("mix").value);
  const content = 100 - state.emotion;
  byId("shares").textContent =
    { 100: "emotion alone", 0: "content alone" }[state.emotion] ?? `${state.emotion} % emotion, ${content} % content`;
  tellFilters();
}

function fill(name, values) {
  const options = (values ?? []).map((value) => make("option", { value, text: value }));
  const select = byId(`only-${name}`);
  select.replaceChildren(select.options[0], ...options);
  select.value = state.only[name] ?? (name === "format" ? state.only.formats?.[0] : null) ?? "";
  select.closest("label").hidden = options.length === 0;
}

function offer() {
  fill("emotion", state.about.classes);
  fill("folder", state.library?.folders);
  fill("format", state.library?.formats);
  byId("only-length").hidden = ["image", "text"].includes(state.library?.modality);
  tellFilters();
}

function clear() {
  for (const field of [...FILTERS.map((name) => `only-${name}`), "shortest", "longest"]) byId(field).value = "";
  byId("mix").value = 100;
  tellShares();
  readFilters();
}

export function startRefining() {
  for (const name of FILTERS) byId(`only-${name}`).addEventListener("change", readFilters);
  for (const field of ["shortest", "longest"]) byId(field).addEventListener("change", readFilters);
  byId("top").addEventListener("change", ({ target }) => {
    state.top = Number(target.value);
    changed("query");
  });
  const ranked = settled(() => changed("query"));
  byId("mix").addEventListener("input", () => {
    tellShares();
    ranked();
  });
  byId("unrefine").addEventListener("click", clear);
  when("about", offer);
  when("library", offer);
}

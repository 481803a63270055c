// What is searched with: files that are dropped, chosen or pasted, words, a voice note, and items of the library.

import { alarm, byId, make, named } from "../dom.js";
import { addTerm, changed, removeTerm, setPoint, severally, state, when } from "../state.js";
import { thumbnail } from "./thumbnails.js";
import { startVoice } from "./voice.js";

const SOUND = "audio/*,video/*";
const ACCEPTED = { image: "image/*", audio: SOUND, video: "video/*", text: ".txt", speech: SOUND };
const NOUNS = { image: "photos", audio: "recordings", video: "films", text: "texts", speech: "voices" };
const THUMB = 44; // CSS pixels

/** Take files, but for those that are larger, or more, than the service takes. */
function take(files) {
  const { upload_bytes: bytes, files: most } = state.about?.limits ?? { upload_bytes: Infinity, files: Infinity };
  const room = most - state.terms.filter((term) => term.file).length;
  const fitting = [...files].filter((file) => file.size <= bytes);
  const refused = [...files].filter((file) => file.size > bytes).map((file) => `${file.name} is too large`);
  if (fitting.length > room) refused.push(`only ${most} files are taken at once`);
  alarm(refused.length ? `${refused.join("; ")}; a search takes ${Math.floor(bytes / 1e6)} MB at most.` : "");
  for (const file of fitting.slice(0, Math.max(0, room))) addTerm({ file, label: file.name });
}

function startDropping() {
  const zone = byId("drop");
  const over = (on) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    zone.classList.toggle("over", on);
  };
  document.addEventListener("dragover", over(true)); // anywhere: whoever misses the zone does not leave the page
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? zone.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    over(false)(event);
    if (event.dataTransfer?.files.length) {
      byId("tab-search").click();
      take(event.dataTransfer.files);
    }
  });
  byId("choose").addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", ({ target }) => {
    take(target.files);
    target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    const { files } = event.clipboardData;
    if (files.length) take(files);
    else if (!event.target.matches("input, textarea")) takeWords(event.clipboardData.getData("text"), "plus");
  });
}

function takeWords(words, sign) {
  const text = words.trim();
  if (text && !byId("words").hidden) addTerm({ text, label: `“${text}”`, sign });
}

function startWords() {
  const field = byId("text");
  const add = (sign) => {
    takeWords(field.value, sign);
    field.value = "";
    field.focus();
  };
  byId("words").addEventListener("submit", (event) => {
    event.preventDefault();
    add("plus");
  });
  byId("without").addEventListener("click", () => add("minus"));
}

const button = (kind, told, text, click) =>
  make("button", { type: "button", class: kind, "aria-label": told, text, on: { click } });

function sign(term) {
  const minus = term.sign === "minus";
  const turn = () => {
    term.sign = minus ? "plus" : "minus";
    changed("query");
    byId("terms").children[state.terms.indexOf(term)]?.querySelector("button").focus();
  };
  const told = `${term.label}: ${minus ? "less of it" : "more of it"}; press to turn round`;
  return button("sign", told, minus ? "−" : "+", turn);
}

function chip(term) {
  const remove = () => {
    const place = state.terms.indexOf(term);
    removeTerm(term);
    const buttons = byId("terms").querySelectorAll(".remove");
    (buttons[Math.min(place, buttons.length - 1)] ?? byId("choose")).focus();
  };
  const cross = button("remove", `Remove ${term.label}`, "×", remove);
  return make("li", { class: `term ${term.sign}` }, sign(term), thumbnail(term.file, THUMB), named(term.label), cross);
}

function point([valence, arousal]) {
  const [pleasant, excited] = [valence < 0 ? "unpleasant" : "pleasant", arousal < 0 ? "calm" : "excited"];
  const label = `mood: ${pleasant} ${Math.abs(valence).toFixed(2)}, ${excited} ${Math.abs(arousal).toFixed(2)}`;
  return make("li", { class: "term" }, named(label), button("remove", `Remove ${label}`, "×", () => setPoint(null)));
}

function show() {
  byId("terms").replaceChildren(...(state.at ? [point(state.at)] : state.terms.map(chip)));
  byId("several").hidden = !severally();
}

/** Offer what the service can take. */
function offer() {
  const { modalities } = state.about;
  byId("words").hidden = !modalities.includes("text");
  byId("files").accept = modalities.map((name) => ACCEPTED[name]).filter(Boolean).join(",");
  const nouns = modalities.map((name) => NOUNS[name]).filter(Boolean);
  byId("droppable").textContent = `${nouns.join(", ").replace(/, ([^,]*)$/, " or $1")}: drop or paste them anywhere`;
}

export function startAsking() {
  startDropping();
  startWords();
  startVoice((file) => take([file]));
  for (const choice of byId("several").querySelectorAll("input")) {
    choice.addEventListener("change", () => {
      state.separately = choice.value === "separately";
      changed("query");
    });
  }
  when("about", offer);
  when("query", show);
}

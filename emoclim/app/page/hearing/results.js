// What was found: a list of cards for each query, those below the threshold hidden, and playlists of the rest.

import { alarm, byId, count, make, named } from "../dom.js";
import { thumbnail } from "../asking/thumbnails.js";
import { bars, told } from "../emotions.js";
import * as service from "../service.js";
import { asks, state, when } from "../state.js";
import { card } from "./card.js";
import { hush } from "./player.js";

const PICTURE = 112; // CSS pixels

let failures = [];

export function showFailures(those) {
  failures = those;
}

function nothing(result) {
  if (Object.keys(state.only).length) return "Nothing of this library passes the filters; clear some of them.";
  if (!result.candidates) return "There is nothing here to rank.";
  return "It retrieves nothing here, as its emotion is none of this library.";
}

/** The photos that a result answers: of one query after the other its own, else all. */
function pictures({ query }) {
  const own = state.terms.filter(({ label }) => state.results.length === 1 || label === query);
  return own.slice(0, 4).map(({ file }) => thumbnail(file, PICTURE)).filter(Boolean);
}

function ranked({ candidates, left_out: out }) {
  return `${count(candidates, "item", "items")} ranked${out.length ? `, ${out.length} equal to it left out` : ""}`;
}

function section(result) {
  const head = make("div", { class: "query" }, ...pictures(result),
    make("div", {},
    make("h2", {}, make("span", { class: "quiet", text: "For " }), named(result.query)),
    make("p", { class: "quiet", text: ranked(result) }),
    result.emotions ? bars(result.emotions, "Emotions of the query", 4) : null));
  const cards = result.found.map((hit) => card(hit, result, state.library?.modality));
  const list = cards.length ? make("ol", { class: "cards" }, ...cards) : make("p", { text: nothing(result) });
  return make("section", { class: "result", "aria-label": `Matches for ${result.query}` }, head, list);
}

function failure({ query, error }) {
  return make("p", { class: "failure" }, named(`${query}: `), error.message);
}

function show() {
  hush();
  byId("results").replaceChildren(...failures.map(failure), ...state.results.map(section));
  const scores = state.results.flatMap((result) => result.found.map((hit) => hit.score));
  const slider = byId("threshold");
  slider.min = scores.length ? Math.floor(100 * Math.min(...scores)) / 100 : 0;
  slider.max = scores.length ? Math.ceil(100 * Math.max(...scores)) / 100 : 1;
  slider.value = slider.dataset.chosen ?? slider.min;
  byId("after").hidden = !scores.length;
  hide();
  byId("status").textContent = asks() && state.results.length + failures.length ? summary(scores.length) : "";
}

function summary(matches) {
  const one = state.results.length === 1 ? state.results[0] : null;
  const about = one && told(one.emotions);
  const parts = [one && ` for ${one.query}`, about && `, which reads as ${about}`,
    failures.length && `; ${failures.length} could not be used`];
  return `${[count(matches, "match", "matches"), ...parts].filter(Boolean).join("")}.`;
}

/** Hide what scores below the threshold, and say how many that are. */
function hide() {
  const slider = byId("threshold");
  const least = Number(slider.value);
  const all = [...byId("results").querySelectorAll(".card")];
  for (const one of all) {
    one.hidden = Number(one.dataset.score) < least;
    if (one.hidden) one.querySelector("audio, video")?.pause();
  }
  const hidden = all.filter((one) => one.hidden).length;
  byId("least").textContent = least.toFixed(2);
  slider.setAttribute("aria-valuetext", `score ${least.toFixed(2)}, hides ${hidden} of ${all.length}`);
  byId("hiding").textContent = hidden ? `${hidden} of ${all.length} hidden` : "";
}

/** The hits that are shown, each once, with where they begin. */
function chosen() {
  const least = Number(byId("threshold").value);
  const items = new Map();
  for (const { item, start, score } of state.results.flatMap((result) => result.found)) {
    if (score >= least && !items.has(item)) items.set(item, { row: item, start });
  }
  return [...items.values()];
}

async function save(format) {
  try {
    const file = await service.playlist({ library: state.library.id, items: chosen(), format });
    const link = make("a", { href: URL.createObjectURL(file), download: `emoclim.${format}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // not before the browser has read it
    byId("status").textContent = `Saved ${count(chosen().length, "item", "items")} as emoclim.${format}.`;
  } catch (error) {
    alarm(error.message);
  }
}

/** Let arrows go from card to card, where a button of one has the focus. */
function step(event) {
  const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!way || !event.target.matches(".card button, .card summary")) return;
  event.preventDefault();
  const cards = [...byId("results").querySelectorAll(".card:not([hidden])")];
  const next = cards[cards.indexOf(event.target.closest(".card")) + way];
  next?.querySelector("button")?.focus();
}

export function startResults() {
  byId("threshold").addEventListener("input", ({ target }) => {
    target.dataset.chosen = target.value;
    hide();
  });
  byId("m3u8").addEventListener("click", () => save("m3u8"));
  byId("csv").addEventListener("click", () => save("csv"));
  byId("results").addEventListener("keydown", step);
  when("results", show);
}

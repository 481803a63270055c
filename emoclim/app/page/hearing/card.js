// One hit: what it is, what it feels like, how near it is, why, and how it sounds.

import { clock, lastPart, make, named, percent } from "../dom.js";
import { bar, bars, hueOf, strongest } from "../emotions.js";
import { addTerm } from "../state.js";
import { Player } from "./player.js";

const TIMED = { audio: "audio", speech: "audio", video: "video" }; // by modality, the element that plays it
const REASONS = 5;

/** The name of a file without its folder and suffix. */
export function titleOf({ path, id, format }) {
  const name = lastPart(path || id);
  const bare = format && name.toLowerCase().endsWith(`.${format}`) ? name.slice(0, -format.length - 1) : name;
  return bare || id;
}

function picture(hit, title) {
  const image = make("img", { src: hit.media, alt: title, loading: "lazy" });
  const instead = make("p", { class: "quiet", text: "This browser cannot show it." });
  image.addEventListener("error", () => image.replaceWith(instead));
  return image;
}

function shown(hit, title, modality) {
  const tag = TIMED[modality];
  if (tag) return new Player({ ...hit, title }, tag).element;
  return hit.text == null ? picture(hit, title) : make("blockquote", { class: "passage" }, named(hit.text));
}

function facts({ folder, seconds, format, label }) {
  const own = label && label !== folder ? `labelled ${label}` : null; // often a folder is the label
  const told = [folder, seconds ? clock(seconds) : null, format, own];
  const parts = told.filter(Boolean).flatMap((one, place) => [place ? " · " : null, named(one)]);
  return make("p", { class: "quiet facts" }, ...parts);
}

/** How it stands to the rest: a percentile, the score, and where they are mixed, their parts. */
function nearness({ percentile, score, parts }) {
  if (score === undefined) return null; // of a point of the map, which was not searched for
  const each = Object.entries(parts ?? {}).map(([name, part]) => `${name} ${part.toFixed(2)}`);
  const detail = [`score ${score.toFixed(2)}`, ...each].join(", ");
  const below = percentile > 99 ? percentile.toFixed(2).replace(/\.?0+$/, "") : Math.floor(percentile);
  return make("p", { class: "nearness" },
    bar(percentile / 100, "--accent"),
    make("span", { text: `closer than ${below} %` }),
    make("span", { class: "quiet", text: detail }));
}

function emotionPairs(asked, emotions) {
  if (!asked || !emotions) return null;
  const rows = strongest(emotions, 4).map(([name, share]) =>
    make("li", {},
      named(name, { class: "name" }),
      make("span", { class: "pair" }, bar(asked[name] ?? 0, hueOf(name), "asked"), bar(share, hueOf(name))),
      make("span", { class: "number", text: `${percent(asked[name] ?? 0)} / ${percent(share)}` })),
  );
  const head = make("p", { class: "quiet", text: "What is felt in your query (pale) and in this:" });
  return make("div", {}, head, make("ul", { class: "bars" }, ...rows));
}

function reasons(hit, result) {
  if (!hit.reasons?.length) return make("p", { class: "quiet", text: result.unexplained ?? "" });
  const most = Math.max(...hit.reasons.map((one) => Math.abs(one.contribution)), 1e-9);
  const adding = hit.reasons.filter((one) => one.contribution > 0).slice(0, REASONS);
  const taking = hit.reasons.filter((one) => one.contribution < 0).slice(-2);
  const rows = [...adding, ...taking].map(({ name, contribution }) =>
    make("li", {},
      named(name, { class: "name" }),
      bar(Math.abs(contribution) / most, contribution < 0 ? "--against" : "--accent"),
      make("span", { class: "number", text: `${contribution < 0 ? "−" : "+"}${Math.abs(contribution).toFixed(3)}` })),
  );
  const also = taking.length ? ", and takes most of it" : "";
  const head = `What adds most to the score of ${hit.score.toFixed(2)}${also}:`;
  return make("div", {}, make("p", { class: "quiet", text: head }), make("ul", { class: "bars" }, ...rows));
}

function why(hit, result) {
  const told = [result.why, result.mix, result.placed].filter(Boolean);
  const sentences = told.map((text) => make("p", { class: "quiet", text }));
  const passage = hit.query_place && make("p", { class: "quiet", text: `Nearest to your query ${hit.query_place}.` });
  const fold = make("details", { class: "why" }, make("summary", { text: "Why?" }));
  fold.addEventListener("toggle", () => {
    if (!fold.open || fold.children.length > 1) return; // made once, when it is asked for
    const parts = [emotionPairs(result.emotions, hit.emotions), reasons(hit, result), passage || null, ...sentences];
    fold.append(...parts.filter(Boolean));
  });
  return fold;
}

function more(hit, title) {
  const term = (sign) => () => addTerm({ item: hit.id, label: title, sign });
  const button = (text, sign) =>
    make("button", {
      type: "button", class: "plain", text, "aria-label": `${text}: ${title}`, on: { click: term(sign) },
    });
  return [button("More like this", "plus"), button("Less like this", "minus")];
}

/** A hit of a result as a card, or an item of the map, which has no rank and no result. */
export function card(hit, result, modality) {
  const title = titleOf(hit);
  return make("li", { class: `card ${modality}`, "data-row": hit.item, "data-score": hit.score },
    make("div", { class: "head" },
      make("h3", {}, hit.rank ? make("span", { class: "rank quiet", text: hit.rank }) : null, named(title)),
      facts(hit)),
    make("div", { class: "heard" }, shown(hit, title, modality)),
    make("div", { class: "felt" }, hit.emotions ? bars(hit.emotions, `Emotions of ${title}`) : null, nearness(hit)),
    make("div", { class: "more" }, ...more(hit, title), result && why(hit, result)),
  );
}

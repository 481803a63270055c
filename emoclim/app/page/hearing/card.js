// One hit: what it is, what it feels like, how near it is, why, and how it sounds.

import { clock, make, named, percent } from "../dom.js";
import { bar, bars, hueOf, strongest } from "../emotions.js";
import { addTerm } from "../state.js";
import { Player } from "./player.js";

const TIMED = { audio: "audio", speech: "audio", video: "video" }; // by modality, the element that plays it
const REASONS = 5;

/** The name of a file without its folder and suffix. */
export const titleOf = ({ path, id }) => (path || id).split(/[\\/]/).pop().replace(/\.[A-Za-z0-9]{2,4}$/, "") || id;

function picture(hit, title) {
  const image = make("img", { src: hit.media, alt: title, loading: "lazy" });
  image.addEventListener("error", () => image.replaceWith(make("p", { class: "quiet", text: "This browser cannot show it." })));
  return image;
}

function shown(hit, title, modality) {
  const tag = TIMED[modality];
  if (tag) return new Player({ ...hit, title }, tag).element;
  return hit.text == null ? picture(hit, title) : make("blockquote", { class: "passage" }, named(hit.text));
}

function facts({ folder, seconds, format, label }) {
  const told = [folder, seconds ? clock(seconds) : null, format, label && label !== folder ? `labelled ${label}` : null];
  const parts = told.filter(Boolean).flatMap((one, place) => [place ? " · " : null, named(one)]);
  return make("p", { class: "quiet facts" }, ...parts);
}

/** How it stands to the rest: a percentile, the score, and where they are mixed, their parts. */
function nearness({ percentile, score, parts }) {
  if (score === undefined) return null; // of a point of the map, which was not searched for
  const each = Object.entries(parts ?? {}).map(([name, part]) => `${name} ${part.toFixed(2)}`);
  const detail = [`score ${score.toFixed(2)}`, ...each].join(", ");
  const closer = `closer than ${percentile >= 99.95 && percentile < 100 ? percentile.toFixed(2) : Math.floor(percentile)} %`;
  return make("p", { class: "nearness" }, bar(percentile / 100, "--accent"), make("span", { text: closer }), make("span", { class: "quiet", text: detail }));
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
  const [first, last] = [hit.reasons.filter((one) => one.contribution > 0), hit.reasons.filter((one) => one.contribution < 0)];
  const rows = [...first.slice(0, REASONS), ...last.slice(-2)].map(({ name, contribution }) =>
    make("li", {},
      named(name, { class: "name" }),
      bar(Math.abs(contribution) / most, contribution < 0 ? "--against" : "--accent"),
      make("span", { class: "number", text: `${contribution < 0 ? "−" : "+"}${Math.abs(contribution).toFixed(3)}` })),
  );
  const head = make("p", { class: "quiet", text: `What the score ${hit.score.toFixed(2)} is the sum of, the greatest first:` });
  return make("div", {}, head, make("ul", { class: "bars" }, ...rows));
}

function why(hit, result) {
  const sentences = [result.why, result.mix].filter(Boolean).map((text) => make("p", { class: "quiet", text }));
  const passage = hit.query_place && make("p", { class: "quiet", text: `Nearest to your query ${hit.query_place}.` });
  const fold = make("details", { class: "why" }, make("summary", { text: "Why?" }));
  fold.addEventListener("toggle", () => {
    if (fold.open && fold.children.length === 1) {
      fold.append(...[emotionPairs(result.emotions, hit.emotions), reasons(hit, result), passage || null, ...sentences].filter(Boolean));
    }
  });
  return fold;
}

function more(hit, title) {
  const term = (sign) => () => addTerm({ item: hit.id, label: title, sign });
  const button = (text, sign) =>
    make("button", { type: "button", class: "plain", text, "aria-label": `${text}: ${title}`, on: { click: term(sign) } });
  return [button("More like this", "plus"), button("Less like this", "minus")];
}

/** A hit of a result as a card, or an item of the map, which has no rank and no result. */
export function card(hit, result, modality) {
  const title = titleOf(hit);
  return make("li", { class: `card ${modality}`, "data-row": hit.item, "data-score": hit.score },
    make("div", { class: "head" },
      make("h4", {}, hit.rank ? make("span", { class: "rank quiet", text: hit.rank }) : null, named(title)),
      facts(hit)),
    make("div", { class: "heard" }, shown(hit, title, modality)),
    make("div", { class: "felt" }, hit.emotions ? bars(hit.emotions, `Emotions of ${title}`) : null, nearness(hit)),
    make("div", { class: "more" }, ...more(hit, title), result && why(hit, result)),
  );
}

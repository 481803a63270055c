// The libraries that are open: add a folder, see how far its extraction is, what it left out, and scan it anew.

import { alarm, byId, clock, count, make, named } from "../dom.js";
import * as service from "../service.js";
import { state, when } from "../state.js";

const EVERY = 700; // milliseconds
const LISTED = 200; // problems at most

const NOUNS = { image: ["picture", "pictures"], audio: ["recording", "recordings"], video: ["video", "videos"],
  text: ["text", "texts"], speech: ["recording of speech", "recordings of speech"] };
const CHANGES = ["new", "changed", "gone"];
const STATES = { waiting: "waiting", running: "under way", done: "done", failed: "failed", cancelled: "stopped" };

/** A fold with a list of names and what is the matter with each. */
function fold(summary, lines) {
  const shown = lines.slice(0, LISTED).map((parts) => make("li", {}, ...parts));
  if (lines.length > LISTED) shown.push(make("li", { class: "quiet", text: `and ${lines.length - LISTED} more` }));
  return lines.length ? make("details", {}, make("summary", { text: summary }), make("ul", {}, ...shown)) : null;
}

function show(place, name, job) {
  const { state: now, step, done, total, seconds_left: left, error } = job;
  const { problems = [], left_out: out = {}, changes = {} } = job;
  const open = [...place.querySelectorAll("details")].map((one) => one.open);
  const known = total > 0;
  const told = [step || STATES[now], known ? `${done.toLocaleString("en")} of ${total.toLocaleString("en")}` : null,
    now === "running" && left != null ? `about ${clock(left)} left` : null].filter(Boolean);
  const share = known ? { max: total, value: done } : {};
  const progress = make("progress", { "aria-label": `Extraction of ${name}`, ...share });
  place.replaceChildren(
    make("h3", {}, named(name), ` ${STATES[now] ?? now}`),
    ...[now === "waiting" || now === "running" ? progress : null,
      make("p", { class: "quiet", text: now === "failed" ? "" : told.join(", ") }),
      error ? make("p", { class: "failure", text: error.message ?? error }) : null,
      ...CHANGES.map((kind) => [kind, changes[kind] ?? []]).map(([kind, ids]) =>
        fold(`${ids.length.toLocaleString("en")} ${kind}`, ids.map((id) => [named(id)]))),
      fold(count(problems.length, "problem", "problems"), problems.map((one) => [named(`${one}`)])),
      fold(`${count(Object.keys(out).length, "file", "files")} left out`,
        Object.entries(out).map(([file, reason]) => [named(file), `: ${reason}`])),
    ].filter(Boolean),
  );
  place.querySelectorAll("details").forEach((one, number) => (one.open = open[number] ?? false));
}

async function follow(id, name, refresh) {
  const place = make("section", { class: "panel job" });
  const status = make("p", { class: "hidden", role: "status" });
  byId("jobs").prepend(make("div", {}, place, status));
  let job = { state: "waiting" };
  while (job.state === "waiting" || job.state === "running") {
    try {
      job = await service.job(id);
    } catch (error) {
      job = { state: "failed", error };
    }
    show(place, name, job);
    if (status.textContent.split(":")[0] !== STATES[job.state]) status.textContent = `${STATES[job.state]}: ${name}`;
    if (job.state === "waiting" || job.state === "running") await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
  if (job.state === "done") await refresh(job.library ?? undefined);
}

const begin = async (asked, name, refresh) => {
  try {
    const { job } = await asked;
    alarm();
    await follow(job, name, refresh);
  } catch (error) {
    alarm(error.message);
  }
};

function list(refresh) {
  const entries = state.about.libraries.map(({ id, name, modality, items, formats }) => {
    const again = () => begin(service.rescan(id), name, refresh);
    const holds = [count(items, ...(NOUNS[modality] ?? ["item", "items"])), ...formats].join(" · ");
    const told = `Scan ${name} again for new, changed and gone files`;
    return make("li", { class: "panel" },
      make("h3", {}, named(name)),
      make("p", { class: "quiet", text: holds }),
      make("button", { type: "button", text: "Scan again", "aria-label": told, title: told, on: { click: again } }),
    );
  });
  byId("libraries").replaceChildren(...entries);
}

export function startLibraries(refresh) {
  byId("add").addEventListener("submit", (event) => {
    event.preventDefault();
    const path = byId("path").value.trim();
    if (path) begin(service.addLibrary(path), path, refresh);
  });
  when("about", () => list(refresh));
}

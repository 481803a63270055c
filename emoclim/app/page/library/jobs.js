// Follow what opens or scans libraries: how far it is, how to stop it, and what came of it.

import { clock, count, make, named } from "../dom.js";
import * as service from "../service.js";

const EVERY = 700; // milliseconds
const LISTED = 200; // lines of a fold at most
const CHANGES = ["new", "changed", "gone"];
const STATES = { waiting: "waiting", running: "under way", done: "done", failed: "failed", cancelled: "stopped" };

const unended = ({ state }) => state === "waiting" || state === "running";

/** A fold with a list of lines, each of some parts. */
function fold(summary, lines) {
  if (!lines.length) return null;
  const shown = lines.slice(0, LISTED).map((parts) => make("li", {}, ...parts));
  if (lines.length > LISTED) shown.push(make("li", { class: "quiet", text: `and ${lines.length - LISTED} more` }));
  return make("details", {}, make("summary", { text: summary }), make("ul", {}, ...shown));
}

/** What came of a job: what changed, what was left out and what went wrong. */
function outcome({ error, problems = [], left_out: out = {}, changes = {} }) {
  const files = Object.entries(out).map(([file, reason]) => [named(file), `: ${reason}`]);
  const parts = CHANGES.map((kind) => [kind, changes[kind] ?? []]).map(([kind, ids]) =>
    fold(`${ids.length.toLocaleString("en")} ${kind}`, ids.map((id) => [named(id)])));
  return [
    error ? make("p", { class: "failure", text: error.message }) : null,
    ...parts,
    fold(count(problems.length, "problem", "problems"), problems.map((one) => [named(one)])),
    fold(`${count(files.length, "file", "files")} left out`, files),
  ].filter(Boolean);
}

class Panel {
  constructor(id, name) {
    this.state = make("span");
    this.progress = make("progress", { "aria-label": `Extraction of ${name}` });
    this.line = make("p", { class: "quiet" });
    this.status = make("p", { class: "hidden", role: "status" });
    const stop = { click: () => service.cancel(id).catch(() => {}) }; // one that has ended meanwhile
    this.stop = make("button", { type: "button", text: "Stop", "aria-label": `Stop ${name}`, on: stop });
    this.name = name;
    const head = make("h3", {}, named(name), " ", this.state);
    this.element = make("section", { class: "panel job" }, head, this.progress, this.line, this.stop, this.status);
  }

  show(job) {
    const { state, step, done, total, seconds_left: left } = job;
    if (this.state.textContent !== STATES[state]) {
      this.state.textContent = STATES[state];
      this.status.textContent = `${this.name} ${STATES[state]}`;
    }
    const far = total > 0 ? `${done.toLocaleString("en")} of ${total.toLocaleString("en")}` : "";
    if (total > 0) Object.assign(this.progress, { max: total, value: done });
    else this.progress.removeAttribute("value");
    this.line.textContent = [step, far, left == null ? "" : `about ${clock(left)} left`].filter(Boolean).join(", ");
    if (unended(job)) return;
    for (const one of [this.progress, this.line, this.stop]) one.remove();
    this.element.append(...outcome(job));
  }
}

/** Show a job in a place until it ends; return how it ended. */
export async function follow(id, name, place) {
  const panel = new Panel(id, name);
  place.prepend(panel.element);
  let job = { state: "waiting" };
  while (unended(job)) {
    job = await service.job(id).catch((error) => ({ state: "failed", error }));
    panel.show(job);
    if (unended(job)) await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
  return job;
}

/** The jobs that began before this page was opened, and have not ended. */
export const underWay = async () => (await service.jobs()).filter(unended);

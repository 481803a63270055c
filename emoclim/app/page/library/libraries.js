// The libraries that are open: add a folder, and scan one again for new, changed and gone files.

import { alarm, byId, count, make, named } from "../dom.js";
import * as service from "../service.js";
import { state, when } from "../state.js";
import { follow, underWay } from "./jobs.js";

const NOUNS = { image: ["picture", "pictures"], audio: ["recording", "recordings"], video: ["video", "videos"],
  text: ["text", "texts"], speech: ["recording of speech", "recordings of speech"] };

/** Show a job; what it opened for the first time becomes the library that is searched. */
async function attend(id, name, refresh) {
  const { state: ended, library } = await follow(id, name, byId("jobs"));
  const known = state.about.libraries.some((one) => one.id === library);
  if (ended === "done") await refresh(known ? undefined : library);
}

async function begin(asked, name, refresh) {
  try {
    const { job } = await asked;
    alarm();
    await attend(job, name, refresh);
  } catch (error) {
    alarm(error.message);
  }
}

function entry({ id, name, modality, items, formats }, refresh) {
  const holds = [count(items, ...(NOUNS[modality] ?? ["item", "items"])), ...formats].join(" · ");
  const told = `Scan ${name} again for new, changed and gone files`;
  const again = { click: () => begin(service.rescan(id), name, refresh) };
  return make("li", { class: "panel" },
    make("h3", {}, named(name)),
    make("p", { class: "quiet", text: holds }),
    make("button", { type: "button", text: "Scan again", "aria-label": told, title: told, on: again }),
  );
}

export async function startLibraries(refresh) {
  byId("add").addEventListener("submit", (event) => {
    event.preventDefault();
    const path = byId("path").value.trim();
    if (path) begin(service.addLibrary(path), path, refresh);
  });
  when("about", () => byId("libraries").replaceChildren(...state.about.libraries.map((one) => entry(one, refresh))));
  for (const { id, path } of await underWay().catch(() => [])) attend(id, path, refresh);
}

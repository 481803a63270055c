// Start the page: read what the service has, and search whenever what is asked changes.

import { startAsking } from "./asking/asking.js";
import { startPad } from "./asking/pad.js";
import { startRefining } from "./asking/refining.js";
import { alarm, byId, make, settled, still } from "./dom.js";
import { nameEmotions } from "./emotions.js";
import { showFailures, startResults } from "./hearing/results.js";
import { startLibraries } from "./library/libraries.js";
import { startMap } from "./library/map.js";
import * as service from "./service.js";
import { asks, changed, query, state, when } from "./state.js";

const INVITATIONS = {
  audio: "Drop a photo, hear the music",
  image: "Drop a song, see the pictures",
  video: "Drop a song, see the film",
  text: "Drop a photo, read the words",
  speech: "Drop a photo, hear the voice",
};

const narrow = matchMedia("(max-width: 56rem)"); // where hits stand below what is asked
let running = null; // the search that is under way, to be given up for a newer one

function answer(results, failures) {
  state.results = results;
  showFailures(failures);
  byId("results").removeAttribute("aria-busy");
  changed("results");
}

async function search() {
  running?.abort();
  const first = !document.body.classList.contains("asked");
  document.body.classList.toggle("asked", asks());
  if (!asks()) return answer([], []);
  const own = (running = new AbortController());
  byId("results").setAttribute("aria-busy", "true");
  byId("status").textContent = "Searching …";
  try {
    const { asked, files } = query();
    const { results, failures } = await service.search(asked, files, own.signal);
    alarm();
    answer(results, failures);
  } catch (error) {
    if (own.signal.aborted) return; // a newer one is under way, or nothing is asked any more
    alarm(error.message);
    answer([], []);
  }
  if (first && narrow.matches) byId("after").scrollIntoView({ behavior: still.matches ? "auto" : "smooth" });
}

/** Read anew what the service has; keep the library that is open, if it still is, or open another. */
export async function refresh(open = state.library?.id) {
  state.about = await service.about();
  const { libraries, classes, version, space } = state.about;
  nameEmotions(classes ?? []);
  const options = libraries.map(({ id, name }) => make("option", { value: id, text: name }));
  byId("library").replaceChildren(...options);
  byId("about").textContent = `emoclim ${version}${space ? `, ${space.told}` : ""}.`;
  changed("about");
  openLibrary(open);
}

function openLibrary(id) {
  const { libraries } = state.about;
  const before = state.library?.id;
  state.library = libraries.find((one) => one.id === id) ?? libraries[0] ?? null;
  byId("library").value = state.library?.id ?? "";
  byId("library").disabled = libraries.length < 2;
  byId("invitation").textContent = INVITATIONS[state.library?.modality] ?? "Drop something, find what feels like it";
  if (before === state.library?.id) return;
  state.terms = state.terms.filter((term) => term.item === undefined); // items are of the library that was left
  state.only = {};
  changed("library");
  changed("query");
}

function startTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const open = (tab) => {
    for (const one of tabs) {
      one.setAttribute("aria-selected", `${one === tab}`);
      one.tabIndex = one === tab ? 0 : -1;
      byId(one.getAttribute("aria-controls")).hidden = one !== tab;
    }
    changed(tab.id);
  };
  for (const [place, tab] of tabs.entries()) {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (!step) return;
      const next = tabs[(place + step + tabs.length) % tabs.length];
      next.focus();
      open(next);
    });
  }
}

async function start() {
  startTabs();
  startAsking();
  startRefining();
  startPad();
  startResults();
  startMap();
  startLibraries(refresh);
  byId("library").addEventListener("change", ({ target }) => openLibrary(target.value));
  when("query", settled(search, 120));
  try {
    await refresh();
    if (!state.library) byId("tab-libraries").click();
  } catch (error) {
    alarm(error.message);
  }
}

start();

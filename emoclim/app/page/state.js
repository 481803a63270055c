// What the page knows, in one place, and who is told when it changes.
// `query`: search again. `library`: another one is open. `results`: there are others. `about`: it was read anew.

export const state = {
  about: null,
  library: null, // of about.libraries
  terms: [], // {sign: "plus" | "minus", file | text | item, label}, in the order they were given
  at: null, // [valence, arousal], in place of terms
  separately: false, // several queries one by one
  top: 5,
  emotion: 100, // percent of the ranking; the rest is content, which a place has none of
  only: {}, // emotion, folder, seconds, formats
  results: [],
};

const listeners = new EventTarget();

export const changed = (what) => listeners.dispatchEvent(new Event(what));
export const when = (what, call) => listeners.addEventListener(what, call);

export function addTerm(term) {
  state.at = null;
  const same = (one) => term.item !== undefined && one.item === term.item;
  state.terms = [...state.terms.filter((one) => !same(one)), { sign: "plus", ...term }];
  changed("query");
}

export function removeTerm(term) {
  state.terms = state.terms.filter((one) => one !== term);
  changed("query");
}

export function setPoint(at) {
  state.at = at;
  state.terms = [];
  changed("query");
}

export const asks = () => state.terms.length > 0 || state.at !== null;

/** The query as the service takes it, with the files that it names by number. */
export function query() {
  const files = state.terms.filter((term) => term.file).map((term) => term.file);
  const written = ({ text, item }) => (text === undefined ? { item } : { text });
  const given = (term) => (term.file ? { file: files.indexOf(term.file) } : written(term));
  const signed = (sign) => state.terms.filter((term) => term.sign === sign).map(given);
  const share = state.emotion / 100;
  const asked = {
    library: state.library?.id ?? null,
    plus: signed("plus"),
    minus: signed("minus"),
    at: state.at,
    top: state.top,
    mix: state.emotion < 100 && !state.at ? { emotion: share, content: 1 - share } : null,
    only: Object.keys(state.only).length ? state.only : null,
    why: true,
    separately: severally() && state.separately,
  };
  return { asked, files };
}

/** Whether there is a choice between one query of all and one of each. */
export const severally = () => state.terms.length > 1 && state.terms.every((term) => term.sign === "plus");

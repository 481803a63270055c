// All that the page asks of the service. A refusal becomes an error with the service's own sentence.

export class Refused extends Error {}

async function answered(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The service does not answer; is it still running?");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw new Refused(told?.error?.message ?? `The service refused this (${response.status}).`);
}

const read = async (path, options) => (await answered(path, options)).json();
const sent = (body) => ({
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
});
const library = (id) => `/api/libraries/${encodeURIComponent(id)}`;

export const about = () => read("/api/about");
export const map = (id) => read(`${library(id)}/map`);
export const item = (id, row) => read(`${library(id)}/items/${row}`);
export const waveform = (path) => read(path);
export const addLibrary = (path) => read("/api/libraries", sent({ path }));
export const rescan = (id) => read(`${library(id)}/rescan`, sent({}));
export const jobs = () => read("/api/jobs");
export const job = (id) => read(`/api/jobs/${encodeURIComponent(id)}`);
export const cancel = (id) => read(`/api/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });

export function search(query, files, signal) {
  const body = new FormData();
  body.append("query", JSON.stringify(query));
  for (const file of files) body.append("files", file, file.name);
  return read("/api/search", { method: "POST", body, signal });
}

export async function playlist(query) {
  const response = await answered("/api/playlist", sent(query));
  return response.blob();
}

// Draw a waveform, how far it was heard, and the passage that matches.

import { brush, colour } from "../dom.js";

const STEP = 3; // CSS pixels from bar to bar
const LEAST = 2; // CSS pixels

export function drawWave(canvas, { peaks, whole, heard, start, passage }) {
  const { context, width, height } = brush(canvas);
  const across = (seconds) => (whole ? Math.min(1, seconds / whole) * width : 0);
  if (start != null) mark(context, across(start), passage ? across(start + passage) : width, height, passage);
  const [played, ahead] = [colour("--accent"), colour("--wave")];
  const bars = Math.max(1, Math.floor(width / STEP));
  for (let place = 0; place < bars; place += 1) {
    const peak = peaks ? peaks[Math.floor((place / bars) * peaks.length)] : 0;
    const tall = Math.max(LEAST, peak * (height - 6));
    context.fillStyle = place * STEP < across(heard) ? played : ahead;
    context.fillRect(place * STEP, (height - tall) / 2, STEP - 1, tall);
  }
  context.fillStyle = played;
  if (start != null) context.fillRect(across(start), 0, 2, height);
}

/** Mark a passage from its first second; where its end is not known, the mark fades. */
function mark(context, from, to, height, known) {
  const ground = colour("--marked");
  const fading = context.createLinearGradient(from, 0, Math.max(from + 1, to), 0);
  fading.addColorStop(0, ground);
  fading.addColorStop(1, known ? ground : "transparent");
  context.fillStyle = fading;
  context.fillRect(from, 0, Math.max(STEP, to - from), height);
}

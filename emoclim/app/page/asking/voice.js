// Record a voice note, or what is playing in the room, and hand it over as a WAV file, which every decoder reads.

import { byId } from "../dom.js";
import { state, when } from "../state.js";

const LONGEST = 60; // seconds
const SAMPLE = 2; // bytes

/** Write samples of one channel as a WAV file of 16 bits. */
function wav(samples, rate) {
  const header = 44;
  const bytes = new DataView(new ArrayBuffer(header + SAMPLE * samples.length));
  const write = (offset, text) =>
    [...text].forEach((sign, place) => bytes.setUint8(offset + place, sign.charCodeAt(0)));
  write(0, "RIFF");
  bytes.setUint32(4, bytes.byteLength - 8, true);
  write(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true);
  bytes.setUint16(20, 1, true); // linear samples
  bytes.setUint16(22, 1, true); // of one channel
  bytes.setUint32(24, rate, true);
  bytes.setUint32(28, SAMPLE * rate, true);
  bytes.setUint16(32, SAMPLE, true);
  bytes.setUint16(34, 8 * SAMPLE, true);
  write(36, "data");
  bytes.setUint32(40, SAMPLE * samples.length, true);
  samples.forEach((sample, place) => {
    bytes.setInt16(header + SAMPLE * place, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true);
  });
  return bytes.buffer;
}

async function asWav(recorded, number) {
  const context = new AudioContext();
  try {
    const sound = await context.decodeAudioData(await recorded.arrayBuffer());
    const channels = Array.from({ length: sound.numberOfChannels }, (_, place) => sound.getChannelData(place));
    const mean = channels[0].map((_, place) => channels.reduce((sum, one) => sum + one[place], 0) / channels.length);
    return new File([wav(mean, sound.sampleRate)], `voice note ${number}.wav`, { type: "audio/wav" });
  } finally {
    await context.close();
  }
}

/** Record until the recorder is stopped or the time is over. */
async function record(tell, keep) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const recorder = new MediaRecorder(stream);
  const parts = [];
  const begun = Date.now();
  const ticking = setInterval(() => {
    const seconds = Math.round((Date.now() - begun) / 1000);
    tell(`${seconds} s of at most ${LONGEST}`);
    if (seconds >= LONGEST) recorder.stop();
  }, 500);
  recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
  recorder.addEventListener("stop", () => {
    clearInterval(ticking);
    for (const track of stream.getTracks()) track.stop();
    keep(new Blob(parts, { type: recorder.mimeType }));
  });
  recorder.start();
  return recorder;
}

export function startVoice(take) {
  const button = byId("record");
  const tell = (text) => (byId("recorded").textContent = text);
  let recorder = null;
  let number = 0;
  const ready = () => {
    recorder = null;
    button.disabled = false;
    button.setAttribute("aria-pressed", "false");
    button.textContent = "Record a voice note";
  };
  const keep = async (recorded) => {
    ready();
    try {
      take(await asWav(recorded, ++number));
      tell("");
    } catch {
      tell("Nothing was recorded.");
    }
  };
  button.addEventListener("click", async () => {
    if (recorder) return recorder.stop();
    button.disabled = true; // until the microphone is allowed or not
    try {
      recorder = await record(tell, keep);
      button.disabled = false;
      button.setAttribute("aria-pressed", "true");
      button.textContent = "Stop and search";
    } catch {
      ready();
      tell("The microphone is not allowed, or there is none.");
    }
  });
  when("about", () => {
    const heard = state.about.modalities.some((name) => name === "audio" || name === "speech");
    byId("spoken").hidden = !heard;
    button.hidden = !navigator.mediaDevices || typeof MediaRecorder === "undefined";
    if (button.hidden) tell("Voice notes need this machine's own browser, or https.");
  });
}

"""Compose music whose tempo, mode, register, timbre, articulation and dynamics carry an emotion.

Convention: a work is a set of cues, a key and a chord progression; its excerpts have melodies of their own. What an
emotion sounds like stands in :data:`STYLES`; each work departs from it by chance, and borrows some cues of other
emotions. Pitches are MIDI numbers, times are in beats until they are rendered, levels in dB below full scale.

Sources of the cues: Gabrielsson & Lindstroem, The role of structure in the musical expression of emotions (2010);
Eerola, Friberg & Bresin, Emotional expression in music: contribution, linearity, and additivity of primary musical cues
(2013).
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # Hz
SECONDS = 10.0
BORROWED = 0.2
TABLE = 2048  # samples of one period of a wave
HARMONICS = np.sin(np.arange(1, 17)[:, None] * np.linspace(0, 2 * math.pi, TABLE, endpoint=False))
PEAK = 0.9

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
MAJOR_CHORDS = ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3), (0, 3, 0, 4))
MINOR_CHORDS = ((0, 5, 6, 0), (0, 3, 4, 0), (0, 6, 5, 4), (0, 5, 3, 4))

Wave = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Style:
    """Cues of a work."""

    tempo: float
    minor: float
    dissonance: float  # chance that a note is a semitone off, and that a chord is a cluster
    register: float
    level: float  # dB of the whole, root mean square
    brightness: float  # strength of the higher harmonics, 0..1
    articulation: float  # sounding part of a note: 0.2 is staccato, 1 legato
    density: float
    irregularity: float
    percussion: float
    roughness: float


STYLES = {
    "happy": Style(118, 0.05, 0.02, 71, -17, 0.55, 0.6, 1.7, 0.15, 0.35, 0.05),
    "funny": Style(134, 0.15, 0.15, 77, -19, 0.45, 0.28, 1.8, 0.5, 0.25, 0.05),
    "exciting": Style(150, 0.25, 0.05, 71, -13, 0.8, 0.6, 2.6, 0.2, 0.85, 0.3),
    "angry": Style(146, 0.9, 0.35, 56, -12, 0.85, 0.5, 2.3, 0.3, 0.8, 0.85),
    "scary": Style(76, 0.9, 0.8, 53, -21, 0.4, 0.95, 0.8, 0.6, 0.1, 0.2),
    "sad": Style(64, 0.95, 0.04, 61, -22, 0.2, 0.95, 0.9, 0.15, 0.0, 0.0),
    "tender": Style(76, 0.1, 0.02, 67, -23, 0.25, 0.9, 1.1, 0.15, 0.0, 0.0),
}
SPREAD = Style(13, 0.0, 0.05, 3.5, 2.0, 0.1, 0.1, 0.25, 0.1, 0.12, 0.08)  # standard deviations within an emotion
LOWEST = Style(50, 0, 0, 45, -28, 0.05, 0.2, 0.5, 0, 0, 0)
HIGHEST = Style(180, 1, 1, 84, -10, 1, 1, 3.5, 0.8, 1, 1)


@dataclass(frozen=True, slots=True)
class Note:
    """One tone: `start` and `length` in beats, `pitch` as MIDI number, `force` 0..1."""

    start: float
    length: float
    pitch: float
    force: float


def compose(label: str, work: np.random.Generator, excerpt: np.random.Generator) -> Wave:
    """Make one excerpt of a work."""
    style = vary(label, work)
    return perform(style, work.random() < style.minor, work, excerpt)[0]


def perform(
    style: Style, minor: bool, work: np.random.Generator, excerpt: np.random.Generator
) -> tuple[Wave, list[float]]:
    """Make one excerpt with given cues; return also when its tones begin, each moment once, in seconds."""
    scale, progressions = (MINOR, MINOR_CHORDS) if minor else (MAJOR, MAJOR_CHORDS)
    tonic = int(work.integers(12))
    chords = progressions[work.integers(len(progressions))]
    beats = SECONDS * style.tempo / 60
    melody = _melody(style, scale, tonic, chords, beats, excerpt)
    backing = _backing(style, scale, tonic, chords, beats, excerpt)
    tones = _render(melody, style, style.brightness) + 0.45 * _render(backing, style, 0.7 * style.brightness)
    starts = sorted({round(note.start * 60 / style.tempo, 6) for note in (*melody, *backing)})
    return _master(tones / (np.abs(tones).max() + 1e-9) + _drums(style, beats, excerpt), style), starts


def vary(label: str, rng: np.random.Generator) -> Style:
    """Draw the cues of one work of an emotion."""
    own, others = STYLES[label], [style for name, style in STYLES.items() if name != label]
    cues = {}
    for cue in (field.name for field in fields(Style)):
        source = others[rng.integers(len(others))] if rng.random() < BORROWED else own
        value = getattr(source, cue) + rng.normal() * getattr(SPREAD, cue)
        cues[cue] = float(np.clip(value, getattr(LOWEST, cue), getattr(HIGHEST, cue)))
    return Style(**cues)


def _pitch(scale: tuple[int, ...], tonic: int, degree: int) -> int:
    return tonic + 12 * (degree // 7) + scale[degree % 7]


def _near(pitch: float, middle: float) -> float:
    """Octave transposition of `pitch` nearest to `middle`."""
    return pitch + 12 * round((middle - pitch) / 12)


def _melody(
    style: Style, scale: tuple[int, ...], tonic: int, chords: tuple[int, ...], beats: float, rng: np.random.Generator
) -> list[Note]:
    """Walk over the scale, drawn to the notes of the chord on the beat."""
    notes, now, degree = [], 0.0, 0
    while now < beats:
        long = 2.0 ** round(-math.log2(style.density) + rng.normal(0, 0.3 + style.irregularity))
        length = float(np.clip(long, 0.25, 4)) * (1 + 0.15 * style.irregularity * rng.normal())
        degree += int(rng.choice([-2, -1, -1, 0, 1, 1, 2])) + round(3 * style.irregularity * rng.normal())
        if now % 1 < 0.05:
            degree = chords[int(now // 4) % 4] + int(rng.choice([0, 2, 4]))
        pitch = _pitch(scale, tonic, degree) + (rng.choice([-1, 1]) if rng.random() < style.dissonance else 0)
        force = float(np.clip(0.75 + 0.35 * style.irregularity * rng.normal(), 0.25, 1))
        notes.append(Note(now, max(length, 0.2) * style.articulation, _near(pitch, style.register), force))
        now += max(length, 0.2)
    return notes


def _backing(
    style: Style, scale: tuple[int, ...], tonic: int, chords: tuple[int, ...], beats: float, rng: np.random.Generator
) -> list[Note]:
    """Chords and bass: held where the style is legato, else struck on every beat."""
    struck = 4.0 if style.articulation > 0.75 else 1.0
    notes = []
    for now in np.arange(0, beats, struck):
        root = chords[int(now // 4) % 4]
        shifts = rng.integers(-1, 2, 3) if rng.random() < style.dissonance else (0, 0, 0)
        for step, shift in zip((0, 2, 4), shifts, strict=True):
            pitch = _near(_pitch(scale, tonic, root + step) + int(shift), style.register - 10)
            notes.append(Note(float(now), struck * style.articulation, pitch, 0.5))
        bass = _near(_pitch(scale, tonic, root), max(style.register - 26, 34))
        notes.append(Note(float(now), struck * style.articulation, bass, 0.8))
    return notes


def _render(notes: list[Note], style: Style, brightness: float) -> Wave:
    """Sum of the notes, each a looped wave of few harmonics with an attack and a decay."""
    second = 60 / style.tempo * SAMPLE_RATE  # samples per beat
    out = np.zeros(int(SECONDS * SAMPLE_RATE))
    attack = 0.006 + 0.1 * max(style.articulation - 0.6, 0)
    for note in notes:
        first = round(note.start * second)
        frequency = 440 * 2 ** ((note.pitch - 69) / 12)
        time = np.arange(min(round(note.length * second) + 800, len(out) - first)) / SAMPLE_RATE
        vibrato = 0.003 * style.articulation**4 * np.sin(2 * math.pi * 5.2 * time) / 5.2
        phase = frequency * (time + vibrato) * TABLE
        held = note.length * second / SAMPLE_RATE
        shape = np.minimum(time / attack, 1) * np.exp(-time * (1 + 5 * (1 - style.articulation)))
        shape *= np.clip((held + 0.05 - time) / 0.05, 0, 1)
        out[first : first + len(time)] += note.force * shape * _period(frequency, brightness)[phase.astype(int) % TABLE]
    return out


def _period(frequency: float, brightness: float) -> Wave:
    """One period whose harmonics fall by 18 dB (dull) to 4 dB (bright) per octave, all below the Nyquist frequency."""
    count = max(2, min(len(HARMONICS), int(7000 / frequency)))
    return np.asarray(np.arange(1, count + 1) ** -(3.0 - 2.4 * brightness) @ HARMONICS[:count], float)


def _drums(style: Style, beats: float, rng: np.random.Generator) -> Wave:
    """Bass drum on every beat, snare on every second one, and a hi-hat twice a beat."""
    second = 60 / style.tempo * SAMPLE_RATE
    out = np.zeros(int(SECONDS * SAMPLE_RATE))
    time = np.arange(2400) / SAMPLE_RATE
    kick = np.sin(2 * math.pi * (50 * time - 6 * np.exp(-time * 30))) * np.exp(-time * 22)
    for half in range(int(2 * beats)):
        first = round(half / 2 * second * (1 + 0.01 * style.irregularity * rng.normal()))
        hit = 0.25 * rng.normal(size=2400) * np.exp(-time * 90)
        if half % 2 == 0:
            hit += kick
        if half % 4 == 2:
            hit += 0.5 * rng.normal(size=2400) * np.exp(-time * 28)
        room = len(out) - first
        out[first : first + 2400] += hit[: max(room, 0)]
    return 0.6 * style.percussion * out


def _master(mix: Wave, style: Style) -> Wave:
    """Overdrive, an echo, fades, the level of the style, and a soft ceiling."""
    drive = 1 + 14 * style.roughness**2
    mix = np.tanh(drive * mix) / math.sqrt(drive)
    delay = round(0.11 * SAMPLE_RATE)
    mix[delay:] += 0.22 * mix[:-delay]
    fade = np.minimum(np.arange(len(mix)) / 400, 1)
    mix = mix * fade * fade[::-1]
    loud = mix * 10 ** (style.level / 20) / (math.sqrt(float(np.mean(mix**2))) + 1e-9)
    return np.asarray(PEAK * np.tanh(loud / PEAK), float)

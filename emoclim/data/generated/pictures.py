"""Paint pictures whose palette, brightness, shapes and composition carry an emotion.

Convention: a picture is a landscape of a sky, a light, ridges and loose shapes. What an emotion looks like stands in
:data:`LOOKS`, in cues from 0 to 1; each picture departs from it by chance, and borrows some cues of other emotions.

Sources of the cues: Valdez & Mehrabian, Effects of color on emotions (1994: bright and saturated is pleasant, dark and
saturated arousing); Poffenberger & Barrows, The feeling value of lines (1924: curved and level lines are gentle or sad,
angular and rising ones agitating); Bar & Neta, Humans prefer curved visual objects (2006).
"""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 320, 240  # pixels
FINE = 2  # drawn this much larger, then reduced: smooth edges
BORROWED = 0.25
JITTER = 0.09

Colour = tuple[int, int, int]
Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Look:
    """Cues of a picture, each 0..1 but the hues."""

    hues: tuple[float, float, float]  # degrees of the main hue and of two accents
    saturation: float
    brightness: float
    contrast: float
    jagged: float
    busy: float
    tilt: float  # how far lines depart from level and upright
    streaks: float  # number of lines across the picture: rain, or rays
    glow: float


LOOKS = {
    "amusement": Look((50, 190, 330), 0.65, 0.9, 0.4, 0.15, 0.75, 0.3, 0.05, 0.45),
    "contentment": Look((110, 200, 45), 0.45, 0.8, 0.3, 0.05, 0.25, 0.05, 0.0, 0.5),
    "excitement": Look((20, 300, 55), 0.85, 0.8, 0.6, 0.5, 0.8, 0.6, 0.7, 0.7),
    "anger": Look((2, 18, 345), 0.8, 0.42, 0.7, 0.95, 0.6, 0.8, 0.5, 0.2),
    "fear": Look((255, 160, 285), 0.3, 0.22, 0.55, 0.8, 0.35, 0.5, 0.2, 0.25),
    "sadness": Look((215, 230, 200), 0.22, 0.42, 0.2, 0.15, 0.12, 0.1, 0.5, 0.15),
    "awe": Look((215, 30, 265), 0.5, 0.6, 0.7, 0.55, 0.1, 0.1, 0.05, 0.95),
    "disgust": Look((72, 50, 95), 0.5, 0.45, 0.35, 0.25, 0.75, 0.3, 0.0, 0.1),
}
CUES = ("saturation", "brightness", "contrast", "jagged", "busy", "tilt", "streaks", "glow")


def paint(label: str, rng: np.random.Generator) -> Image.Image:
    """Paint one picture."""
    look = vary(label, rng)
    light = (rng.uniform(0.2, 0.8) * WIDTH * FINE, rng.uniform(0.15, 0.4) * HEIGHT * FINE)
    picture = _sky(look, light, rng)
    draw = ImageDraw.Draw(picture, "RGBA")
    _streaks(draw, look, light, rng)
    horizon = rng.uniform(0.5, 0.75)
    count = int(rng.integers(2, 5))
    for layer in range(count):
        depth = layer / count
        shade = look.brightness * (1.05 - (0.15 + 0.85 * look.contrast) * (depth + 0.15))
        fill = _colour(look.hues[layer % 2], look.saturation * (0.6 + 0.5 * depth), shade, rng)
        draw.polygon(_ridge(look, horizon + (1 - horizon) * 0.8 * depth, rng), fill=fill)
    for _ in range(round(2 + 26 * look.busy)):
        _shape(draw, look, rng)
    return _finish(picture, look, rng)


def vary(label: str, rng: np.random.Generator) -> Look:
    """Draw the cues of one picture of an emotion."""
    own, others = LOOKS[label], [look for name, look in LOOKS.items() if name != label]

    def source() -> Look:
        return others[rng.integers(len(others))] if rng.random() < BORROWED else own

    hues = tuple(hue + rng.normal(0, 14) for hue in source().hues)
    cues = {cue: float(np.clip(getattr(source(), cue) + rng.normal(0, JITTER), 0, 1)) for cue in CUES}
    return Look((hues[0], hues[1], hues[2]), **cues)


def _colour(hue: float, saturation: float, brightness: float, rng: np.random.Generator) -> Colour:
    value = float(np.clip(brightness + rng.normal(0, 0.03), 0.03, 1))
    channels = colorsys.hsv_to_rgb((hue + rng.normal(0, 6)) / 360 % 1, min(max(saturation, 0), 1), value)
    return (round(255 * channels[0]), round(255 * channels[1]), round(255 * channels[2]))


def _sky(look: Look, light: tuple[float, float], rng: np.random.Generator) -> Image.Image:
    """Vertical gradient with a glowing sun or moon."""
    hue = look.hues[1]
    top = np.array(_colour(hue, look.saturation, look.brightness * (1 - 0.4 * look.contrast), rng), float)
    low = np.array(_colour(look.hues[2], 0.6 * look.saturation, look.brightness * 1.1, rng), float)
    bright = np.array(_colour(look.hues[2], 0.3 * look.saturation, 0.4 + 0.6 * look.brightness, rng), float)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    sky = top + (low - top) * (y / (HEIGHT * 0.7)).clip(0, 1)[..., None]
    radius = HEIGHT * (0.03 + 0.13 * look.glow)
    away = np.hypot(x - light[0] / FINE, y - light[1] / FINE) / radius
    halo = 0.75 * look.glow * np.exp(-((away / 2.5) ** 2)) + 1 / (1 + np.exp(((away - 1) * radius).clip(-30, 30)))
    sky += (bright - sky) * halo.clip(0, 1)[..., None]
    small = Image.fromarray(sky.clip(0, 255).astype(np.uint8))
    return small.resize((WIDTH * FINE, HEIGHT * FINE), Image.Resampling.BILINEAR)


def _ridge(look: Look, level: float, rng: np.random.Generator) -> Points:
    """Outline of the land below a line that is wavy or, the more jagged the look, a chain of peaks."""
    x = np.linspace(0, 1, 161)
    waves = sum(np.sin(2 * math.pi * (k * x + rng.random())) / k for k in (1, 2, 3)) / 2
    knots = np.sort(rng.random(int(rng.integers(8, 16))))
    peaks = np.interp(x, knots, rng.uniform(-1, 1, len(knots)))
    slope = rng.choice([-1, 1]) * look.tilt * 0.35 * (x - 0.5)
    height = 0.05 + 0.12 * look.jagged + 0.05 * look.contrast
    y = level - height * ((1 - look.jagged) * waves + look.jagged * peaks) + slope
    line = [(float(a) * WIDTH * FINE, float(b) * HEIGHT * FINE) for a, b in zip(x, y, strict=True)]
    return [*line, (WIDTH * FINE, 2 * HEIGHT * FINE), (0, 2 * HEIGHT * FINE)]


def _shape(draw: ImageDraw.ImageDraw, look: Look, rng: np.random.Generator) -> None:
    """One blob or one splinter."""
    radius = HEIGHT * FINE * rng.uniform(0.015, 0.075) * (1.6 - look.busy)
    centre = rng.uniform(0, WIDTH * FINE), HEIGHT * FINE * rng.beta(2, 1.4)
    hue = look.hues[rng.integers(3)]
    vivid = look.saturation * rng.uniform(0.8, 1.2)
    shade = look.brightness + look.contrast * rng.uniform(-0.45, 0.35)
    outline = _splinter(look, rng) if rng.random() < look.jagged else _blob(rng)
    points = [(centre[0] + radius * a, centre[1] + radius * b) for a, b in outline]
    draw.polygon(points, fill=(*_colour(hue, vivid, shade, rng), int(rng.integers(150, 245))))


def _blob(rng: np.random.Generator) -> Points:
    angle = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    radius = 1 + 0.15 * np.sin(2 * angle + rng.uniform(0, 6)) + 0.08 * np.sin(3 * angle + rng.uniform(0, 6))
    return [(float(r * math.cos(a)), float(r * math.sin(a))) for a, r in zip(angle, radius, strict=True)]


def _splinter(look: Look, rng: np.random.Generator) -> Points:
    corners = int(rng.integers(3, 7))
    angle = np.sort(rng.uniform(0, 2 * math.pi, 2 * corners))
    radius = np.where(np.arange(2 * corners) % 2 == 0, rng.uniform(1.2, 2.2, 2 * corners), 1 - 0.7 * look.jagged)
    return [(float(r * math.cos(a)), float(r * math.sin(a))) for a, r in zip(angle, radius, strict=True)]


def _streaks(draw: ImageDraw.ImageDraw, look: Look, light: Sequence[float], rng: np.random.Generator) -> None:
    """Rays from a strong light, else parallel lines."""
    fill = (*_colour(look.hues[2], 0.5 * look.saturation, look.brightness + 0.2, rng), 70)
    lean = rng.choice([-1, 1]) * look.tilt * 0.9
    far = 2 * WIDTH * FINE
    for _ in range(round(45 * look.streaks)):
        if look.glow > 0.5:
            angle, width = rng.uniform(0, 2 * math.pi), rng.uniform(0.01, 0.04)
            ends = [(light[0] + far * math.cos(a), light[1] + far * math.sin(a)) for a in (angle, angle + width)]
            draw.polygon([(light[0], light[1]), *ends], fill=fill)
        else:
            x, y = rng.uniform(0, WIDTH * FINE), rng.uniform(-0.2, 0.8) * HEIGHT * FINE
            length = HEIGHT * FINE * rng.uniform(0.1, 0.35)
            end = (x + length * math.sin(lean), y + length * math.cos(lean))
            draw.line([(x, y), end], fill=fill, width=round(1 + 5 * look.jagged * rng.random()))


def _finish(picture: Image.Image, look: Look, rng: np.random.Generator) -> Image.Image:
    """Reduce, darken the corners of a dark look, and add grain."""
    small = picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    if look.jagged + look.contrast < 0.6:
        small = small.filter(ImageFilter.GaussianBlur(0.6))
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    corners = 1 - 0.35 * (1 - look.brightness) * (x**2 + y**2)
    pixels: NDArray[np.float64] = np.asarray(small, float) * corners[..., None]
    pixels += rng.normal(0, 2 + 4 * look.contrast, (HEIGHT, WIDTH, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

"""Statistics of colour, texture and layout of a picture.

Convention: saturation and hue are those of the improved HLS space (Hanbury 2003), hue as a unit vector; lightness and
the two opponent axes are CIELAB (D65) divided by 100. A picture and its mirror image have the same feature. Centres and
spreads are rounded values typical of photographs.

Sources: Machajdik & Hanbury, Affective image classification using features inspired by psychology and art theory
(2010); Valdez & Mehrabian, Effects of color on emotions (1994); Itten, The art of color (1961); Hanbury, Circular
statistics applied to colour images (2003); Hasler & Suesstrunk, Measuring colourfulness in natural images (2003);
Berlin & Kay, Basic color terms (1969); Tamura, Mori & Yamawaki, Textural features corresponding to visual perception
(1978); Haralick, Shanmugam & Dinstein, Textural features for image classification (1973); Datta et al., Studying
aesthetics in photographic images using a computational approach (2006).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from emoclim.encoders.nets.statistics import Statistic, StatisticBank, alike

TINY = 1e-4
TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
WHITE = (0.9505, 1.0, 1.089)
# sRGB of a typical black, grey, white, red, orange, yellow, green, blue, purple, pink and brown.
TERMS = (
    (0.04, 0.04, 0.04), (0.5, 0.5, 0.5), (0.97, 0.97, 0.97), (0.8, 0.1, 0.1), (0.95, 0.55, 0.1), (0.95, 0.88, 0.2),
    (0.2, 0.6, 0.2), (0.15, 0.35, 0.8), (0.5, 0.2, 0.6), (0.95, 0.6, 0.7), (0.45, 0.28, 0.12),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planes:
    """A batch of pictures in the quantities that the statistics use."""

    rgb: Tensor  # `(B, 3, H, W)` sRGB in 0..1
    saturation: Tensor  # `(B, 1, H, W)` in 0..1
    hue: Tensor  # `(B, 2, H, W)` cosine and sine of the hue, shrinking to zero for greys
    lab: Tensor  # `(B, 3, H, W)` CIELAB divided by 100
    slopes: tuple[Tensor, ...]  # three scales, each half of the one before


def planes(rgb: Tensor) -> Planes:
    """Take a batch ``(B, 3, H, W)`` in 0..1 apart."""
    red, green, blue = rgb.chunk(3, dim=1)
    opponent = torch.cat([red - (green + blue) / 2, (green - blue) * math.sqrt(0.75)], dim=1)
    hue = opponent / (opponent.square().sum(1, keepdim=True) + TINY).sqrt()
    lab = to_lab(rgb)
    slopes = tuple(_slopes(functional.avg_pool2d(lab[:, :1], size)) for size in (1, 2, 4))
    return Planes(rgb, rgb.amax(1, keepdim=True) - rgb.amin(1, keepdim=True), hue, lab, slopes)


def to_lab(rgb: Tensor) -> Tensor:
    """CIELAB (D65) divided by 100, of sRGB in 0..1; both ``(B, 3, H, W)``."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("bchw,dc->bdhw", linear, rgb.new_tensor(TO_XYZ)) / rgb.new_tensor(WHITE)[:, None, None]
    knee = (6 / 29) ** 3
    x, y, z = torch.where(xyz > knee, xyz.clamp(min=knee) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29).unbind(1)
    return torch.stack([1.16 * y - 0.16, 5 * (x - y), 2 * (y - z)], dim=1)


def _slopes(plane: Tensor) -> Tensor:
    across, down = plane[..., 1:-1, 2:] - plane[..., 1:-1, :-2], plane[..., 2:, 1:-1] - plane[..., :-2, 1:-1]
    return torch.cat([across, down], dim=1)


def _mean(plane: Tensor) -> Tensor:
    return plane.mean((-2, -1))


def _centred(plane: Tensor) -> Tensor:
    return plane - plane.mean((-2, -1), keepdim=True)


def _deviation(plane: Tensor) -> Tensor:
    return (plane.var((-2, -1), correction=0) + TINY).sqrt()


def _length(vector: Tensor) -> Tensor:
    return (vector.square().sum(1, keepdim=True) + TINY**2).sqrt()


def _root(share: Tensor) -> Tensor:
    """Square root, so that distances between histograms are those of Hellinger; its slope stays finite at zero."""
    return (share + TINY).sqrt()


def _double(unit: Tensor) -> Tensor:
    """Unit vectors ``(B, 2, H, W)`` at twice their angle."""
    cosine, sine = unit.chunk(2, dim=1)
    return torch.cat([cosine.square() - sine.square(), 2 * cosine * sine], dim=1)


def _histogram(plane: Tensor, bins: int) -> Tensor:
    """Soft histogram of values in 0..1, ``(B, 1, H, W) -> (B, bins)``."""
    centres = torch.linspace(0, 1, bins, device=plane.device)[:, None, None]
    return _mean((-((plane - centres) * (bins - 1)).square()).softmax(1))


def _directions(unit: Tensor, weight: Tensor, bins: int, sharpness: float) -> Tensor:
    """Soft histogram of unit vectors ``(B, 2, H, W)``, each counting `weight` ``(B, 1, H, W)``: ``(B, bins)``."""
    angle = torch.arange(bins, device=unit.device) * (2 * math.pi / bins)
    cosine = torch.einsum("bchw,cn->bnhw", unit, torch.stack([angle.cos(), angle.sin()]))
    return _mean(weight * (sharpness * cosine).softmax(1)) / (_mean(weight) + 0.01)


def light(x: Planes) -> Tensor:
    """Mean, deviation and bounded skewness of lightness; the second is Itten's contrast of light and dark."""
    plane, spread = x.lab[:, :1], _deviation(x.lab[:, :1])
    skewness = _mean(_centred(plane) ** 3) / spread**3
    return torch.cat([_mean(plane), spread, skewness / (1 + skewness.abs())], dim=1)


def vividness(x: Planes) -> Tensor:
    """Mean and deviation of saturation (Machajdik & Hanbury), and colourfulness (Hasler & Suesstrunk)."""
    red, green, blue = x.rgb.chunk(3, dim=1)
    axes = torch.cat([red - green, (red + green) / 2 - blue], dim=1)
    colourfulness = _length(_deviation(axes)) + 0.3 * _length(_mean(axes))
    return torch.cat([_mean(x.saturation), _deviation(x.saturation), colourfulness], dim=1)


def affect(x: Planes) -> Tensor:
    """Pleasure, arousal and dominance from brightness and saturation (Valdez & Mehrabian)."""
    bright, vivid = _mean(x.lab[:, :1]), _mean(x.saturation)
    return torch.cat([0.69 * bright + 0.22 * vivid, 0.60 * vivid - 0.31 * bright, 0.32 * vivid - 0.76 * bright], dim=1)


def hue_moments(x: Planes) -> Tensor:
    """First two circular moments of hue, weighted by saturation (Hanbury), and Itten's contrast of warm and cold."""
    warm = x.saturation * (0.77 * x.hue[:, :1] + 0.64 * x.hue[:, 1:])  # towards orange
    moments = _mean(x.saturation * torch.cat([x.hue, _double(x.hue)], dim=1)) / (_mean(x.saturation) + 0.02)
    return torch.cat([moments, _mean(warm), _deviation(warm)], dim=1)


def hues(x: Planes) -> Tensor:
    """Share of twelve hues in the saturation of the picture; none for greys."""
    return _root(_directions(x.hue[..., ::4, :], x.saturation[..., ::4, :], 12, 8.0))


def levels(x: Planes) -> Tensor:
    """Share of eight levels of lightness, and of five of the square root of saturation."""
    lightness, saturation = x.lab[:, :1, ::4, :], x.saturation[..., ::4, :]
    return _root(torch.cat([_histogram(lightness, 8), _histogram(_root(saturation), 5)], dim=1))


def colour_terms(x: Planes) -> Tensor:
    """Share of the eleven basic colour terms (Berlin & Kay), by nearness in CIELAB."""
    lab = x.lab[..., ::4, :]
    terms = to_lab(lab.new_tensor(TERMS).T[None, :, None])[0, :, 0]  # (3, 11)
    near = 2 * torch.einsum("bchw,cn->bnhw", lab, terms) - terms.square().sum(0)[:, None, None]
    return _root(_mean((near / (2 * 0.12**2)).softmax(1)))


def layout(x: Planes) -> Tensor:
    """Lightness, opponent axes and slope in the rule-of-thirds grid (Datta et al.) less those of the whole."""
    slope = _length(x.slopes[1])
    edges = functional.adaptive_avg_pool2d(slope / (slope.mean((-2, -1), keepdim=True) + 0.002), 3)
    grid = torch.cat([functional.adaptive_avg_pool2d(_centred(x.lab), 3), 0.2 * (edges - 1)], dim=1)
    return torch.cat([grid[..., 1], (grid[..., 0] + grid[..., 2]) / 2], dim=1).flatten(1)


def edges(x: Planes) -> Tensor:
    """Log mean and share of edges of the slope, at three scales."""
    found = [_length(slope) for slope in x.slopes]
    shares = [_root(_mean(alike(torch.sigmoid, (length - 0.15) / 0.03))) for length in found]
    return torch.cat([*(_mean(length + 0.002).log() for length in found), *shares], dim=1)


def orientation(x: Planes) -> Tensor:
    """Share of five inclinations in the slopes of the middle scale, from upright edges to level ones."""
    length = _length(x.slopes[1])
    share = _directions(_double(x.slopes[1] / (length + 0.01)), length, 8, 4.0)
    return _root(share[:, :5] + share[:, [0, 7, 6, 5, 4]]) / math.sqrt(2)


def tamura_contrast(x: Planes) -> Tensor:
    """Contrast at three scales (Tamura et al.)."""
    scales = [_centred(functional.avg_pool2d(x.lab[:, :1], size)) for size in (1, 4, 16)]
    powers = [(_mean(plane**2), _mean(alike(lambda x: x**4, plane)) + TINY**2) for plane in scales]
    return torch.cat([second / alike(lambda x: x**0.25, fourth) for second, fourth in powers], dim=1)


def tamura_coarseness(x: Planes) -> Tensor:
    """Mean and deviation of log2 coarseness (Tamura et al.), the best size chosen softly."""
    wide, energy = functional.pad(functional.avg_pool2d(x.lab[:, :1], 4), [16] * 4, mode="replicate"), []
    for size in (2, 4, 8, 16):
        box = functional.avg_pool2d(wide, size, stride=1)
        across, down = box[..., size:] - box[..., :-size], box[..., size:, :] - box[..., :-size, :]
        long, short = [size - 16] * 2, [size // 2 - 16] * 2  # negative: crops to the picture
        steps = functional.pad(across, long + short), functional.pad(down, short + long)
        energy.append(torch.maximum(steps[0].abs(), steps[1].abs()))
    best = (torch.cat(energy, dim=1) * 50).softmax(1)
    exponent = (best * torch.arange(1.0, 5.0, device=best.device)[:, None, None]).sum(1, keepdim=True)
    return torch.cat([_mean(exponent), _deviation(exponent)], dim=1)


def co_occurrence(x: Planes) -> Tensor:
    """Homogeneity and correlation of lightness over 2, 8 and 32 pixels (Haralick et al., without levels)."""
    plane, power = _centred(x.lab[:, :1]), _deviation(x.lab[:, :1]) ** 2
    rows = []
    for lag in (2, 8, 32):
        across, down = (plane[..., lag:], plane[..., :-lag]), (plane[..., lag:, :], plane[..., :-lag, :])
        rows += [torch.stack([_mean(1 / (1 + 16 * (a - b).abs())) for a, b in (across, down)]).mean(0)]
        rows += [torch.stack([_mean(a * b) for a, b in (across, down)]).mean(0) / power]
    return torch.cat(rows, dim=1)


def symmetry(x: Planes) -> Tensor:
    """Correlation of lightness with its mirror image, left-right and upside down."""
    plane = _centred(functional.avg_pool2d(x.lab[:, :1], 8))
    return torch.cat([_mean(plane * plane.flip(axis)) / _deviation(plane) ** 2 for axis in (-1, -2)], dim=1)


STATISTICS = (
    Statistic(light, (0.46, 0.24, 0.0), (0.15, 0.06, 0.35)),
    Statistic(vividness, (0.18, 0.12, 0.18), (0.15, 0.08, 0.12)),
    Statistic(affect, (0.33, -0.03, -0.27), (0.1, 0.1, 0.12)),
    Statistic(hue_moments, (0.25, 0.15, 0.25, 0.45, 0.08, 0.13), (0.5, 0.35, 0.35, 0.3, 0.18, 0.08)),
    Statistic(hues, (0.2,) * 12, (0.18,) * 12),
    Statistic(levels, (*(0.33,) * 8, 0.42, 0.55, 0.5, 0.3, 0.15), (*(0.12,) * 8, *(0.16,) * 5)),
    Statistic(colour_terms, (0.48, 0.5, 0.35, *(0.1,) * 7, 0.3), (0.2, 0.2, 0.2, *(0.13,) * 7, 0.18)),
    Statistic(layout, (0.0,) * 24, (*(0.14,) * 3, *(0.07,) * 6, *(0.09,) * 3, *(0.11,) * 3, *(0.06,) * 9)),
    Statistic(edges, (-2.6, -2.35, -2.1, 0.42, 0.48, 0.55), (0.5, 0.43, 0.38, *(0.12,) * 3)),
    Statistic(orientation, (0.35, 0.33, 0.32, 0.33, 0.34), (0.06, 0.04, 0.03, 0.04, 0.06)),
    Statistic(tamura_contrast, (0.19, 0.18, 0.16), (0.06,) * 3),
    Statistic(tamura_coarseness, (3.1, 0.8), (0.32, 0.12)),
    Statistic(co_occurrence, (0.7, 0.9, 0.6, 0.72, 0.45, 0.42), (0.1, 0.07, 0.1, 0.15, 0.1, 0.18)),
    Statistic(symmetry, (0.35, 0.1), (0.3, 0.35)),
)


def colour_statistics() -> StatisticBank[Planes]:
    """Make the module: ``(B, 3, H, W)`` sRGB in 0..1, each side at least 64, to ``(B, D)``."""
    return StatisticBank(planes, STATISTICS)

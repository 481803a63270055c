"""Statistics of timbre, harmony, dynamics and rhythm of a stretch of sound.

Convention: a waveform is mono at 16 kHz, full scale 1; powers are relative to a full-scale sine and floored at -80 dB,
so that silence is finite. Fine frames (64 ms, every 16 ms) serve timbre and rhythm, long ones (256 ms, every 64 ms)
harmony. Centres and spreads are rounded values typical of recorded music.

Sources: Davis & Mermelstein, Comparison of parametric representations (1980: MFCC); Tzanetakis & Cook, Musical genre
classification of audio signals (2002: centroid, rolloff, flux, low energy); Jiang et al., Music type classification by
spectral contrast feature (2002); Fujishima, Realtime chord recognition (1999: chroma); Krumhansl, Cognitive foundations
of musical pitch (1990: key profiles); Ellis, Beat tracking by dynamic programming (2007: onset strength, tempo);
Grosche, Mueller & Kurth, Cyclic tempogram (2010); Lartillot et al., Multi-feature modeling of pulse clarity (2008).
"""

import itertools
import math
from dataclasses import dataclass

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional

from emoclim.encoders.nets.statistics import Statistic, StatisticBank, alike

SAMPLE_RATE = 16_000
N_FFT, HOP_LENGTH = 1024, 256
LONG_FFT, LONG_HOP = 4096, 1024
N_MELS, N_MFCC = 64, 20
FRAME_RATE = SAMPLE_RATE / HOP_LENGTH
FLOOR, TINY = 1e-8, 1e-6
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
CONTRAST_EDGES = (0, 200, 400, 800, 1600, 3200, 8000)  # Hz
LAGS = range(15, 95)  # frames: 250 down to 40 beats per minute


@dataclass(frozen=True, slots=True)
class Sound:
    """A batch of waveforms in the quantities that the statistics use; T fine frames, U long ones."""

    waveform: Tensor  # `(B, N)`
    power: Tensor  # `(B, 513, T)` power spectrum
    mel: Tensor  # `(B, 64, T)` mel bands, dB
    cepstrum: Tensor  # `(B, 20, T)` MFCC without the zeroth
    chroma: Tensor  # `(B, 12, U)` share of each pitch class, C first; summing to one, to less where it is nearly silent
    onsets: Tensor  # `(B, T - 1)` mean rise of the mel bands, dB per frame


class Listen(nn.Module):
    """Waveforms ``(B, N)`` to :class:`Sound`."""

    dct: Tensor
    pitch: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fine = torchaudio.transforms.Spectrogram(N_FFT, hop_length=HOP_LENGTH, power=None)
        self.long = torchaudio.transforms.Spectrogram(LONG_FFT, hop_length=LONG_HOP, power=None)
        self.to_mel = torchaudio.transforms.MelScale(N_MELS, SAMPLE_RATE, f_min=40.0, n_stft=N_FFT // 2 + 1)
        self.register_buffer("dct", torchaudio.functional.create_dct(N_MFCC + 1, N_MELS, "ortho")[:, 1:], False)
        self.register_buffer("pitch", _pitch_classes(), False)

    def forward(self, waveform: Tensor) -> Sound:
        """Take a batch apart."""
        power = _power(self.fine(waveform) / (N_FFT / 4))
        mel = _db(self.to_mel(power))
        cepstrum = torch.einsum("bmt,mc->bct", mel, self.dct)
        magnitude = (_power(self.long(waveform) / (LONG_FFT / 4)) + FLOOR**2).sqrt()
        chroma = torch.einsum("bft,fc->bct", magnitude, self.pitch)
        chroma = chroma / (chroma.sum(1, keepdim=True) + 1e-3)
        return Sound(waveform, power, mel, cepstrum, chroma, mel.diff(dim=2).relu().mean(1))


def _pitch_classes() -> Tensor:
    """Weight of each bin of a long frame in each pitch class, ``(F, 12)``, between 100 and 2000 Hz."""
    frequency = torch.arange(LONG_FFT // 2 + 1) * (SAMPLE_RATE / LONG_FFT)
    pitch = 69 + 12 * (frequency.clamp(min=1.0) / 440).log2()
    away = (pitch[:, None] - torch.arange(12) + 6) % 12 - 6  # semitones
    octave = (-0.5 * ((pitch[:, None] - 66) / 15) ** 2).exp()
    audible = ((frequency > 100) & (frequency < 2000))[:, None]
    return (-0.5 * (away / 0.3) ** 2).exp() * octave * audible


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


def _moments(frames: Tensor) -> Tensor:
    """Mean and deviation over time, ``(B, n, T) -> (B, 2n)``."""
    return torch.cat([frames.mean(2), _deviation(frames)], dim=1)


def _deviation(frames: Tensor) -> Tensor:
    return (frames.var(2, correction=0) + TINY).sqrt()


def _db(power: Tensor) -> Tensor:
    return 10 * (power + FLOOR).log10()


def level(x: Sound) -> Tensor:
    """Level and its deviation, trend and share below the mean, and crest: dB, dB, dB per segment, share, dB."""
    frames = functional.avg_pool1d(x.waveform.square()[:, None], 2 * HOP_LENGTH)
    steps = _db(frames)
    ramp = torch.linspace(-1, 1, steps.shape[2], device=steps.device)
    trend = (steps * ramp).mean(2) / ramp.square().mean()
    mean = frames.mean(2, keepdim=True)
    quiet = alike(torch.sigmoid, (mean - frames) / (0.1 * mean + FLOOR)).mean(2)
    crest = _db(x.waveform.square().amax(1, keepdim=True)) - _db(frames.mean(2))
    return torch.cat([_db(frames.mean(2)), _deviation(steps), trend, quiet, crest], dim=1)


def bands(x: Sound) -> Tensor:
    """Eight broad mel bands: level against their mean, deviation, and mean step between frames; dB."""
    broad = x.mel.reshape(len(x.mel), 8, -1, x.mel.shape[2]).mean(2)
    mean = broad.mean(2)
    return torch.cat([mean - mean.mean(1, keepdim=True), _deviation(broad), broad.diff(dim=2).abs().mean(2)], dim=1)


def mfcc(x: Sound) -> Tensor:
    """Mean of each of 20 MFCC."""
    return x.cepstrum.mean(2)


def mfcc_motion(x: Sound) -> Tensor:
    """Log deviation of each MFCC, and of its step between frames."""
    return torch.cat([_deviation(x.cepstrum), _deviation(x.cepstrum.diff(dim=2))], dim=1).log()


def shape(x: Sound) -> Tensor:
    """Mean and deviation of centroid, bandwidth and rolloff of the spectrum (octaves), and of its flatness (dB)."""
    power = x.power[:, 1:] + FLOOR / 10
    share = power / power.sum(1, keepdim=True)
    octave = torch.arange(1.0, power.shape[1] + 1, device=power.device).log2()[:, None]
    centroid = (share * octave).sum(1, keepdim=True)
    bandwidth = ((share * (octave - centroid).square()).sum(1, keepdim=True) + TINY).sqrt()
    rolloff = (alike(torch.sigmoid, (0.85 - share.cumsum(1)) * 50).sum(1, keepdim=True) + 1).log2()
    flatness = _db(power).mean(1, keepdim=True) - _db(power.mean(1, keepdim=True))
    return _moments(torch.cat([centroid, bandwidth, rolloff, flatness], dim=1))


def change(x: Sound) -> Tensor:
    """Mean and deviation of log flux, and of the square root of the zero-crossing rate; the latter without slope."""
    power = x.power + FLOOR / 10
    flux = ((power / power.sum(1, keepdim=True)).diff(dim=2).square().sum(1, keepdim=True) + TINY).log()
    crossed = (x.waveform[:, 1:] * x.waveform[:, :-1] < 0).to(x.waveform.dtype)
    rate = functional.avg_pool1d(crossed[:, None], N_FFT, HOP_LENGTH)
    return torch.cat([_moments(flux), _moments(rate.sqrt())], dim=1)


def contrast(x: Sound) -> Tensor:
    """Mean and deviation of peak over valley in six bands, dB: octave-based spectral contrast (Jiang et al.)."""
    spectrum, rows = _db(x.power[..., ::4]), []
    for low, high in itertools.pairwise(CONTRAST_EDGES):
        band = spectrum[:, round(low * N_FFT / SAMPLE_RATE) : round(high * N_FFT / SAMPLE_RATE)]
        few = max(2, round(0.1 * band.shape[1]))
        peak, valley = band.topk(few, dim=1).values, band.topk(few, dim=1, largest=False).values
        rows.append(peak.mean(1, keepdim=True) - valley.mean(1, keepdim=True))
    return _moments(torch.cat(rows, dim=1))


def pitch_classes(x: Sound) -> Tensor:
    """Mean share of each pitch class."""
    return x.chroma.mean(2)


def key(x: Sound) -> Tensor:
    """Best correlation with the major and with the minor key profiles, their difference, and clarity of the best."""
    profiles = x.chroma.new_tensor([MAJOR, MINOR])
    profiles = functional.normalize(profiles - profiles.mean(1, keepdim=True), dim=1)
    keys = torch.stack([profiles.roll(step, 1) for step in range(12)], dim=1)  # (2, 12, 12)
    centred = x.chroma.mean(2) - x.chroma.mean((1, 2))[:, None]
    found = torch.einsum("bc,mkc->bmk", centred / (centred.square().sum(1, keepdim=True) + TINY).sqrt(), keys)
    major, minor = found.amax(2).chunk(2, dim=1)
    clarity = torch.maximum(major, minor) - found.abs().mean((1, 2))[:, None]
    return torch.cat([major, minor, major - minor, clarity], dim=1)


def intervals(x: Sound) -> Tensor:
    """How much of a frame's chroma lies one to six semitones apart, its entropy, and its change."""
    energy = x.chroma.square().sum(1) + TINY
    pairs = [(x.chroma * x.chroma.roll(step, 1)).sum(1) / energy for step in range(1, 7)]
    entropy = -(x.chroma * (x.chroma + TINY).log()).sum(1)
    change = x.chroma.diff(dim=2).abs().sum(1)
    return torch.stack([row.mean(1) for row in (*pairs, entropy, change)], dim=1)


def onset_strength(x: Sound) -> Tensor:
    """Log mean and log deviation of the onset strength, its peakedness, and sudden onsets per second."""
    mean, spread = x.onsets.mean(1), (x.onsets.var(1, correction=0) + TINY).sqrt()
    fourth = alike(lambda x: x**4, x.onsets - mean[:, None]).mean(1) / alike(lambda x: x**4, spread)
    summit = functional.max_pool1d(x.onsets[:, None], 9, 1, 4)[:, 0]
    sudden = ((x.onsets - summit) * 20).exp() * alike(torch.sigmoid, (x.onsets - mean[:, None] - 1.5) * 2)
    return torch.stack([(mean + 0.05).log(), (spread + 0.05).log(), (fourth + 1).log(), sudden.mean(1) * FRAME_RATE], 1)


def tempo(x: Sound) -> Tensor:
    """Autocorrelation of the onset strength in eight bands from 40 to 240 beats per minute, its summit, and log2 tempo.

    The summit is the pulse clarity of Lartillot et al.; the tempo prefers 120 beats per minute as Ellis does.
    """
    centred, count = x.onsets - x.onsets.mean(1, keepdim=True), x.onsets.shape[1]
    lagged = torch.fft.irfft(_power(torch.fft.rfft(centred, 2 * count)), 2 * count)
    lag = torch.arange(LAGS.start, min(LAGS.stop, count), device=centred.device)
    found = lagged[:, lag] / (lagged[:, :1] + TINY * count) * (count / (count - lag))
    octaves = (FRAME_RATE * 60 / lag).log2()
    centres = torch.linspace(math.log2(45), math.log2(220), 8, device=lag.device)
    window = (-0.5 * ((octaves[:, None] - centres) / 0.2) ** 2).exp()
    preferred = (-0.5 * (octaves - math.log2(120)) ** 2).exp()
    guess = ((found * preferred * 30).softmax(1) * octaves).sum(1, keepdim=True)
    return torch.cat([(found[:, :, None] * window).amax(1), found.amax(1, keepdim=True), guess], dim=1)


STATISTICS = (
    Statistic(level, (-23, 4.5, 0, 0.6, 14), (9, 3, 3, 0.07, 2.5)),
    Statistic(bands, (13, 8, 3, 0, -2, -5, -7, -10, *(5.5,) * 8, *(1.5,) * 8), (*(4.5,) * 8, *(3,) * 8, *(0.9,) * 8)),
    Statistic(mfcc, (55, 10, 12, 2, 2, *(0,) * 15), (29, 17, 11, 8, 7, 5.5, 5.5, 5, 4.5, *(4,) * 4, *(3.5,) * 7)),
    Statistic(
        mfcc_motion, (2.7, 2.3, *(1.75,) * 18, 1.7, 1.4, *(1.05,) * 18), (0.5, *(0.35,) * 19, 0.4, *(0.28,) * 19)
    ),
    Statistic(shape, (4.1, 1.25, 5.4, -17, 0.75, 0.35, 1, 4.4), (0.8, 0.35, 0.9, 7, 0.35, 0.13, 0.5, 2)),
    Statistic(change, (-4.6, 1.2, 0.29, 0.07), (0.65, 0.4, 0.08, 0.03)),
    Statistic(contrast, (28, 22, 27, 24, 21, 17, *(6,) * 6), (7, 5, 7, 9, 10, 10, *(2,) * 6)),
    Statistic(pitch_classes, (1 / 12,) * 12, (0.04,) * 12),
    Statistic(key, (0.67, 0.67, 0, 0.44), (0.15, 0.15, 0.17, 0.1)),
    Statistic(intervals, (*(0.65,) * 6, 2.23, 0.2), (*(0.17,) * 7, 0.045)),
    Statistic(onset_strength, (0, 0.1, 2.7, 3), (0.4, 0.55, 0.5, 1.4)),
    Statistic(tempo, (0.38, 0.38, 0.33, 0.32, 0.3, 0.25, 0.2, 0.2, 0.55, 6.75), (*(0.19,) * 8, 0.21, 0.3)),
)


def timbre_statistics() -> StatisticBank[Sound]:
    """Make the module: ``(B, N)`` mono at 16 kHz, at least 2 s, to ``(B, D)``."""
    return StatisticBank(Listen(), STATISTICS)

"""Change training crops of recordings: by sounds and noise added, and by a chain of effects.

Convention: what is added to a crop follows from the crop's own generator alone. The library audiomentations
draws from `random` and `numpy.random`, which are given a seed from that generator while it works, and their own states
back afterwards. Each augmentation has a seed of its own, so that none moves what another draws.
"""

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoclim.data import Samples, without_c_messages
from emoclim.errors import ConfigError, DecodeError, MissingLibrary
from emoclim.learning.end_to_end.waveform_effects import add_noise, delay, filter_one_side, reverberate
from emoclim.learning.settings import Augmentations

Effect = Callable[[Samples, int], Samples]
UNDECODABLE = "PySoundFile failed"  # what librosa warns of before it looks for FFmpeg


class Augmenter:
    """Augment crops as settings say: ``(crop (n,), generator) -> (n,)``, float32.

    A crop of digital silence stays as it is, and an excerpt of digital silence adds nothing. A sound shorter than the
    crop is repeated. Sounds come first, then Gaussian noise by its ratio, then the chain of :func:`chain`.

    Parameters
    ----------
    settings
        What, and how often.
    sounds
        Files to be mixed in, in an order of their own.
    sample_rate
        Hz of the crops.
    length
        Samples of a crop, n.

    Raises
    ------
    ConfigError
        audiomentations is not installed.
    """

    def __init__(self, settings: Augmentations, sounds: Sequence[Path], sample_rate: int, length: int) -> None:
        library = load_library()
        self._rate = sample_rate
        self._steps: list[Effect | None] = [None, None]
        if settings.background is not None:
            low, high = settings.background_snr
            self._steps[0] = library.AddBackgroundNoise(
                list(sounds),
                min_snr_db=low,
                max_snr_db=high,
                p=settings.background_probability,
                noise_transform=partial(_filled, length),
            )
        if settings.gaussian_snr is not None:
            low, high = settings.gaussian_snr
            self._steps[1] = library.AddGaussianSNR(low, high, p=settings.gaussian_probability)
        if settings.filter_probability and max(*settings.highpass_hz, *settings.lowpass_hz) >= sample_rate / 2:
            raise ConfigError(
                f"highpass_hz and lowpass_hz stay below {sample_rate / 2:g}, half the encoder's sample rate"
            )
        if any(probability for probability, _ in chain(settings, library)):
            self._steps += [partial(_sometimes, *step) for step in chain(settings, library)]

    def __call__(self, crop: Tensor, generator: torch.Generator) -> Tensor:
        """Return the crop with what was drawn for it; a sound that cannot be decoded raises :class:`DecodeError`."""
        samples = crop.numpy()
        for step in self._steps:
            seed = int(torch.randint(2**32, (), generator=generator))
            if step is not None:
                with _seeded(seed), _quiet():
                    samples = _added(step, samples, self._rate)
        return torch.from_numpy(samples)


def chain(settings: Augmentations, library: Any) -> list[tuple[float, Effect]]:
    """Return the effects in the order of CLMR, with their probabilities."""
    return [
        (settings.polarity_probability, library.PolarityInversion(p=1.0)),
        (settings.noise_probability, partial(add_noise, settings.noise_level)),
        (settings.gain_probability, library.Gain(*settings.gain_db, p=1.0)),
        (settings.filter_probability, partial(filter_one_side, settings.highpass_hz, settings.lowpass_hz)),
        (settings.delay_probability, partial(delay, settings.delay_ms)),
        (settings.pitch_probability, library.PitchShift(*settings.pitch_semitones, p=1.0)),
        (settings.reverb_probability, reverberate),
    ]


def _sometimes(probability: float, effect: Effect, samples: Samples, rate: int) -> Samples:
    return effect(samples, rate) if random.random() < probability else samples


def load_library() -> Any:
    """Import the library audiomentations; if it is not installed, that raises :class:`MissingLibrary`."""
    with warnings.catch_warnings(action="ignore"):
        try:
            import audiomentations
            import librosa.core  # noqa: F401 - else it would be loaded by the first crop, in every process
        except ImportError as error:
            raise MissingLibrary("augmentations need audiomentations: pip install 'emoclim[augment]'") from error
    return audiomentations


def _added(step: Any, samples: Samples, rate: int) -> Samples:
    try:
        mix: Samples = step(samples, rate)
    except (Warning, DecodeError) as error:
        sound, reason = step.parameters["noise_file_path"], error.__context__ or error
        raise DecodeError(f"background sound {sound} cannot be decoded any more ({reason})") from error
    return mix


def _filled(length: int, sound: Samples, _: int) -> NDArray[np.float32]:
    """Repeat or cut an excerpt ``(n,)`` to ``(length,)``, before its power is measured."""
    if not (len(sound) and np.isfinite(sound).all()):
        raise DecodeError("it ends before its header says, or holds samples that are not finite")
    return np.resize(sound, length)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Set the global generators for a while."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the library draws from them
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what the library and its decoders print: sounds were checked before."""
    with warnings.catch_warnings(action="ignore"), without_c_messages():
        warnings.filterwarnings("error", UNDECODABLE)
        yield

"""Noise and background sounds in training crops of recordings, by the library audiomentations.

Convention: what is added to a crop follows from the crop's own generator alone. The library draws from `random` and
`numpy.random`, which are given a seed from that generator while it works, and their own states back afterwards. Each
augmentation has a seed of its own, so that none moves what another draws.
"""

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoclim.config import Allowed, require_known, validated
from emoclim.data import Samples
from emoclim.errors import ConfigError, DecodeError

TABLE = "augmentations"  # of these settings in a TOML file
UNDECODABLE = "PySoundFile failed"  # what librosa warns of before it looks for FFmpeg
_RANGE = (float, lambda value: -100 <= value <= 100, "two numbers from -100 to 100, in dB, the lower one first")
_SHARE = (float, lambda value: 0 <= value <= 1, "a number from 0 to 1")
_PLACE = (str, lambda _: True, "a folder")
_ALLOWED: Allowed = {
    "gaussian_snr": _RANGE,
    "gaussian_probability": _SHARE,
    "background": _PLACE,
    "background_snr": _RANGE,
    "background_probability": _SHARE,
}
_SWITCHES = {
    "gaussian_probability": "gaussian_snr",
    "background_snr": "background",
    "background_probability": "background",
}

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Augmentations:
    """What is added to crops of recordings in training, and how often; by default nothing.

    Attributes
    ----------
    gaussian_snr
        Lowest and highest ratio of a crop to the Gaussian noise in it, in dB; None: no noise.
    gaussian_probability
        Of noise in a crop.
    background
        Folder of sounds that are mixed in; None: none are.
    background_snr
        Lowest and highest ratio of a crop to the sound in it, in dB.
    background_probability
        Of a sound in a crop.

    Raises
    ------
    ConfigError
        A value is of the wrong type or out of range.

    Notes
    -----
    Ratios are uniform in dB, of mean powers over the whole crop; sounds come first, and noise is by the mix. S. Stewart
    et al., "Emotion-Aligned Contrastive Learning Between Images and Music", ICASSP 2024, names augmentation as future
    work; the configuration of their published code has both, with the defaults here, and noise at 5 to 40 dB.
    """

    gaussian_snr: Range | None = None
    gaussian_probability: float = 0.8
    background: Path | None = None
    background_snr: Range = (3.0, 30.0)
    background_probability: float = 0.8

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value is None and field.default is None):
                object.__setattr__(self, field.name, _usable(field.name, value))

    def __bool__(self) -> bool:
        return self.gaussian_snr is not None or self.background is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return plain | {"background": None if self.background is None else str(self.background)}

    def updated(self, data: Mapping[str, Any]) -> "Augmentations":
        """These settings with those of `data` in place of their own; what cannot be raises :class:`ConfigError`."""
        require_known(data, _ALLOWED)
        return replace(self, **data)

    def require_switches(self) -> None:
        """Refuse, with a :class:`ConfigError`, a setting of what is not switched on."""
        for name, switch in _SWITCHES.items():
            if getattr(self, switch) is None and getattr(self, name) != getattr(Augmentations(), name):
                raise ConfigError(f"{name} would have no effect without {switch}; give that too, or leave both out")


class Augmenter:
    """Adds to crops what settings say: ``(crop (n,), generator) -> (n,)``, float32.

    A crop of digital silence stays as it is, and an excerpt of digital silence adds nothing. A sound shorter than the
    crop is repeated.

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
        self._steps: list[Callable[[Samples, int], Samples] | None] = [None, None]
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

    def __call__(self, crop: Tensor, generator: torch.Generator) -> Tensor:
        """Return the crop with what was drawn for it; a sound that cannot be decoded raises :class:`DecodeError`."""
        samples = crop.numpy()
        for step in self._steps:
            seed = int(torch.randint(2**32, (), generator=generator))
            if step is not None:
                with _seeded(seed), _quiet():
                    samples = _added(step, samples, self._rate)
        return torch.from_numpy(samples)


def load_library() -> Any:
    """The library audiomentations; if it is not installed, that raises :class:`ConfigError`."""
    with warnings.catch_warnings(action="ignore"):
        try:
            import audiomentations
            import librosa.core  # noqa: F401 - else it would be loaded by the first crop, in every process
        except ImportError as error:
            raise ConfigError(
                "augmentations need audiomentations; install it with: pip install 'emoclim[augment]'"
            ) from error
    return audiomentations


def _usable(name: str, value: Any) -> Any:
    """A value in the type of its setting."""
    _, _, words = _ALLOWED[name]
    if _ALLOWED[name] is _SHARE:
        return validated(name, value, _ALLOWED)
    if _ALLOWED[name] is _PLACE and isinstance(value, str | Path) and str(value):
        return Path(value)
    if _ALLOWED[name] is _RANGE and isinstance(value, tuple | list) and len(value) == 2:
        low, high = (float(validated(name, end, _ALLOWED)) for end in value)
        if low <= high:
            return low, high
    raise ConfigError(f"{name} = {value!r} is not possible; it must be {words}")


def _added(step: Any, samples: Samples, rate: int) -> Samples:
    try:
        mix: Samples = step(samples, rate)
    except (Warning, DecodeError) as error:
        sound, reason = step.parameters["noise_file_path"], error.__context__ or error
        raise DecodeError(f"background sound {sound} cannot be decoded any more ({reason})") from error
    return mix


def _filled(length: int, sound: Samples, _: int) -> NDArray[np.float32]:
    """An excerpt of a sound ``(n,)``, repeated or cut to ``(length,)``: before its power is measured, not after."""
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
    """Let no warning of the library through: what there is to tell was told when the sounds were checked."""
    with warnings.catch_warnings(action="ignore"):
        warnings.filterwarnings("error", UNDECODABLE)
        yield

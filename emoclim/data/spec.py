"""Say what features depend on: a `FeatureSpec`, whose digest is in the name of every cache. Imports no torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from emoclim.errors import CacheMismatch
from emoclim.modality import MODALITIES, Modality

Setting = int | float | str

VIEWS = "views"


def read_setting(text: str) -> Setting:
    """Read a number as one, and leave other texts as they are."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """What must be equal for two features to be comparable.

    Examples
    --------
    >>> spec = FeatureSpec("timbre", "audio", 64, "none", {"overlap": 0.5})
    >>> spec.differences(FeatureSpec("timbre", "audio", 64, "none", {"overlap": 0.75}))
    ['overlap: 0.5 here, 0.75 there']
    >>> spec.digest()
    '638d8dc5090c'
    """

    name: str  # of the encoder, or of the import
    modality: Modality
    dim: int  # values per feature, D
    checkpoint: str  # "<file>@<first 12 hex of its sha256>"; "none" for an encoder without parameters
    settings: Mapping[str, Setting]  # all else that changes a number: segments, resampler, pixel pipeline, precision

    @property
    def views(self) -> int:
        """Random views kept of each item as its segments; 0 where segments are its consecutive windows."""
        return int(self.settings.get(VIEWS, 0))

    @property
    def keyed_by_id(self) -> bool:
        """Whether items are known by their ids, as imported features are; else by the content of their files."""
        return self.settings.get("keys") == "ids"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, settings sorted by name."""
        return asdict(self) | {"settings": dict(sorted(self.settings.items()))}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "FeatureSpec":
        """Make a spec of what :meth:`to_dict` returned; raise KeyError, TypeError or ValueError where it did not."""
        spec = cls(**{field.name: data[field.name] for field in fields(cls)})
        for value, kind in ((spec.name, str), (spec.dim, int), (spec.checkpoint, str), (spec.settings, dict)):
            if not isinstance(value, kind):
                raise TypeError(f"{value!r} is no {kind.__name__}")
        if (
            spec.dim < 1
            or spec.modality not in MODALITIES
            or not all(isinstance(value, Setting) for value in spec.settings.values())
        ):
            raise ValueError("no features are of that length, modality and settings")
        return spec

    def digest(self) -> str:
        """Return the first 12 hex digits of the sha256 of the canonical JSON; part of a cache's file name."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def differences(self, other: "FeatureSpec") -> list[str]:
        """Return one line per entry in which `other` differs: ``"overlap: 0.75 here, 0.5 there"``."""
        mine, theirs = _flat(self), _flat(other)
        return [
            f"{name}: {mine.get(name, 'absent')} here, {theirs.get(name, 'absent')} there"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]

    def require(self, other: "FeatureSpec", what: str) -> None:
        """Raise :class:`CacheMismatch`, naming each difference, unless `other`, asked of `what`, equals this spec."""
        if lines := self.differences(other):
            raise CacheMismatch(f"{what} holds other features than asked for ({'; '.join(lines)})")


def _flat(spec: FeatureSpec) -> dict[str, Setting]:
    plain: dict[str, Any] = spec.to_dict()
    settings: dict[str, Setting] = plain.pop("settings")
    return plain | settings

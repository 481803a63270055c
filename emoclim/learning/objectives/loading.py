"""Find an objective by its name.

Every module beside this one and the bases is an objective, and so is whatever another installed package names by an
entry point of the group ``emoclim.objectives``: a module with one subclass of
:class:`~emoclim.learning.objectives.base.Objective`. It is called like its file or its entry point.
"""

import inspect
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from emoclim.data import Plugins
from emoclim.errors import ConfigError
from emoclim.learning.objectives.base import Objective
from emoclim.modality import MODALITIES, Modality

OBJECTIVES = Plugins(
    "emoclim.learning.objectives",
    "objective",
    ConfigError,
    beside=frozenset({"base", "classifying", "contrastive", "loading", "regressing", "wording"}),
)


def objective_names() -> list[str]:
    """Names of all objectives, sorted; imports none of them."""
    return OBJECTIVES.names()


def load_objective(name: str) -> type[Objective]:
    """Import one objective.

    Raises
    ------
    ConfigError
        There is none of that name, or its file does not hold one subclass of :class:`Objective`.

    Examples
    --------
    >>> load_objective("emo_clim")(("image", "audio")).terms
    ('image>audio', 'audio>image', 'image>image', 'audio>audio')
    """
    found = OBJECTIVES.load(name)
    if isinstance(found, ModuleType):
        own = [one for one in vars(found).values() if _is_objective(one) and one.__module__ == found.__name__]
        found = own[0] if len(own) == 1 else None
    if not _is_objective(found):
        raise ConfigError(f"objective {name!r} is no file with one subclass of Objective; mend or remove it")
    kind: type[Objective] = found
    kind.name = name
    return kind


def describe_objectives() -> list[dict[str, Any]]:
    """Describe all objectives as plain values: what each is, its terms for two modalities, needs and settings."""
    described = []
    for kind in map(load_objective, objective_names()):
        settings = {
            name: {"default": None if field.is_required() else field.default, "means": field.description}
            for name, field in kind.Settings.model_fields.items()
        }
        made = kind(tuple(MODALITIES)[:2], [kind.Settings.model_construct()])
        described.append(
            {
                "name": kind.name,
                "about": " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split()),
                "terms": list(made.terms),
                "needs": sorted(made.needs),
                "settings": settings,
            }
        )
    return described


def make_objective(name: str, modalities: Sequence[Modality], settings: Sequence[Mapping[str, Any]]) -> Objective:
    """Make an objective from plain values, a mapping for each head; `name` is empty for none.

    Raises
    ------
    ConfigError
        There is none of that name, or a setting is not possible.
    """
    kind = load_objective(name) if name else Objective
    return kind(modalities, [kind.Settings(**values) for values in settings])


def _is_objective(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Objective)

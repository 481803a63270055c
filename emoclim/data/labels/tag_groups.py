"""Group tags by what they tell, such as genre and mood: those published for MagnaTagATune, or those of a TOML file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from emoclim.data.listing import Name
from emoclim.errors import ConfigError
from emoclim.files import read_toml

TagGroups = Mapping[str, tuple[str, ...]]

# The 50 most frequent tags of MagnaTagATune (Law et al., ISMIR 2009), in the groups of the configuration of the
# published implementation of K. Avramidis et al., "On the role of visual context in enriching music
# representations", ICASSP 2023; Fig. 2 of the paper shows four groups and lists no tags.
MTAT_GROUPS: TagGroups = {
    "genre": (
        *("classical", "techno", "electronic", "rock", "indian", "opera"),
        *("pop", "classic", "new age", "dance", "country", "metal"),
    ),
    "mood": ("slow", "fast", "ambient", "loud", "quiet", "soft", "weird"),
    "instrument": (
        *("guitar", "strings", "drums", "piano", "violin", "synth"),
        *("harpsichord", "flute", "sitar", "harp", "cello"),
    ),
    "vocals": (
        *("vocal", "female", "male", "singing", "vocals", "no vocals"),
        *("no vocal", "man", "voice", "male voice", "female vocal", "female voice"),
    ),
    "other": ("beat", "solo", "beats", "choir", "choral"),
}
MTAT_UNGROUPED = frozenset(("woman", "male vocal", "no voice"))  # in none of the published groups


def groups_of(tags: Sequence[str], source: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Group tags: by name of each group, those of the tags that are in it."""
    if source is None:
        known = MTAT_UNGROUPED.union(*MTAT_GROUPS.values())
        return _present(MTAT_GROUPS, tags) if known.issuperset(tags) else {}
    groups = read_toml(source, ConfigError, "write lines like: mood = ['slow', 'fast']", dict[str, tuple[Name, ...]])
    found = _present(groups, tags)
    if not found:
        raise ConfigError(f"{source} groups none of the tags there are ({', '.join(tags[:5])}, ...); correct its names")
    return found


def _present(groups: TagGroups, tags: Sequence[str]) -> dict[str, tuple[str, ...]]:
    own = {name: tuple(tag for tag in tags if tag in members) for name, members in groups.items()}
    return {name: members for name, members in own.items() if members}

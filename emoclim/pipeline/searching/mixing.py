"""Rank by what items are of beside their emotion, in shares (`emoclim search --mix`)."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from emoclim.cache import CacheNote
from emoclim.encoders import wordy_encoders
from emoclim.errors import ConfigError, name_some
from emoclim.learning import Heads
from emoclim.pipeline.searching.by_words import WordSpace
from emoclim.pipeline.searching.opening.indexes import Indexed, Indexes
from emoclim.pipeline.searching.opening.opened import Opened
from emoclim.stages import Gallery, MixedGallery

log = logging.getLogger(__name__)

EMOTION, CONTENT = "emotion", "content"  # the score of the run, or of words of emotions; and what items are of
EXAMPLE = f"{EMOTION}=.7,{CONTENT}=.3"


def check_mix(shares: Mapping[str, float]) -> Mapping[str, float]:
    """Return the share of each score, which sum to 1; or tell what is wrong with what was given."""
    if shares.keys() != {EMOTION, CONTENT}:
        unknown = name_some(sorted(shares.keys() - {EMOTION, CONTENT}))
        told = (
            f"names {unknown}, which is no score" if unknown else f"names {name_some(list(shares)) or 'nothing'} only"
        )
        raise ConfigError(f"a mix {told}; give {EMOTION} and {CONTENT} a share each, as {EXAMPLE}")
    for name, share in shares.items():
        if not (math.isfinite(share) and share >= 0):
            raise ConfigError(f"the share {share:g} of {name} in a mix is no finite number from 0; write {EXAMPLE}")
    if not (total := sum(shares.values())) or not math.isfinite(total):
        raise ConfigError(f"the shares of a mix sum to {total:g}; write for example {EXAMPLE}")
    return {name: shares[name] / total for name in (EMOTION, CONTENT)}


@dataclass(frozen=True, slots=True)
class Mixed:
    """A library ranked by both, and how queries are encoded for content."""

    gallery: MixedGallery
    note: CacheNote
    heads: Heads  # of content
    why: str  # what scores are, in a sentence


class ContentBeside:
    """Compares items of any space by content, too.

    Features that the space compares serve where they can be compared with words; else those of the newest cache whose
    features can, or of the preset, which lack what they lack until a library is ranked.
    """

    def __init__(self, space: WordSpace, indexes: Indexes) -> None:
        self._space, self._indexes = space, indexes
        self._opened: dict[tuple[Path, Path], tuple[Indexed, Heads]] = {}

    def mix(self, opened: Opened, asked: CacheNote, shares: Mapping[str, float]) -> Mixed:
        """Make ready a library that is ranked by a space, for queries that are encoded there as a note says."""
        note = self._encoding(asked)
        if (known := (opened.note.path, note.path)) not in self._opened:
            indexed = self._open(opened.indexed)
            self._opened[known] = indexed, self._space.heads(note, indexed.index.heads)
        indexed, heads = self._opened[known]
        content, own = indexed.index.embedded, opened.embedded.ids
        if content.ids == own:  # so that a million need not be matched one by one
            content = replace(content, ids=own)
        mixed = MixedGallery({EMOTION: opened.gallery, CONTENT: Gallery(content)}, shares)
        for name, ids in mixed.lacking.items():
            if ids:
                log.warning("without features for %s, %d are not ranked: %s", name, len(ids), name_some(ids))
        told = " + ".join(f"{share:.2g} {name}" for name, share in shares.items())
        encoders = " and ".join(sorted({spec.name for spec in heads.specs.values()}))
        why = f"Scores are {told}, each standardised over what is ranked; content by words, with {encoders}"
        return Mixed(mixed, note, heads, why)

    def _open(self, library: Indexed) -> Indexed:
        own = self._encoding(library.note)
        if own.path == library.note.path:
            return self._indexes.open(self._space, library.note, library.source)
        log.warning(
            "content is read from %s features, as %s features have no words; what lacks of %s is encoded first",
            *(own.spec.name, library.note.spec.name, library.name),
        )
        return self._indexes.open(self._space, own, library.source.found_from(library.note.path))

    def _encoding(self, own: CacheNote) -> CacheNote:
        """Say how items are encoded for content that a space takes as encoded so."""
        if own.spec.name in wordy_encoders() and not own.spec.keyed_by_id:
            return own
        modality = own.spec.modality
        return next(iter(self._space.notes(modality)), None) or self._space.encoding(modality)

"""Rank by what items are of beside their emotion, in shares (`emoclim search --mix`)."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

from emoclim.cache import CacheNote
from emoclim.config import Average
from emoclim.data import Features
from emoclim.encoders import wordy_encoders
from emoclim.errors import ConfigError, name_some
from emoclim.learning import Heads
from emoclim.pipeline.library import Library, read_features
from emoclim.pipeline.searching.by_words import WordSpace
from emoclim.pipeline.searching.libraries import Libraries
from emoclim.stages import Gallery, MixedGallery, embed

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

    def __init__(self, space: WordSpace, shares: Mapping[str, float], average: Average, libraries: Libraries) -> None:
        self._space, self._shares, self._average, self._libraries = space, shares, average, libraries

    def mix(self, gallery: Gallery, candidates: Features, library: Library, asked: CacheNote) -> Mixed:
        """Make ready a library that is ranked by a space, for queries that are encoded there as a note says."""
        own, note = self._encoding(library.note), self._encoding(asked)
        if own.path != library.note.path:
            path = library.source.found_from(library.note.path)
            log.warning(
                "content is read from %s features, as %s features have no words; what lacks of %s is encoded first",
                *(own.spec.name, library.note.spec.name, library.manifest.name),
            )
            beside = self._libraries.open(own, path)
            candidates = read_features(beside, beside.manifest.items, self._libraries.keys, partial=True)
        heads = self._space.heads(note, candidates)
        mixed = MixedGallery(
            {EMOTION: gallery, CONTENT: Gallery(embed(candidates, heads, self._average))}, self._shares
        )
        for name, ids in mixed.lacking.items():
            if ids:
                log.warning("without features for %s, %d are not ranked: %s", name, len(ids), name_some(ids))
        shares = " + ".join(f"{share:.2g} {name}" for name, share in self._shares.items())
        encoders = " and ".join(sorted({spec.name for spec in heads.specs.values()}))
        why = f"Scores are {shares}, each standardised within the library; content by words, with {encoders}"
        return Mixed(mixed, note, heads, why)

    def _encoding(self, own: CacheNote) -> CacheNote:
        """Say how items are encoded for content that a space takes as encoded so."""
        if own.spec.name in wordy_encoders() and not own.spec.keyed_by_id:
            return own
        modality = own.spec.modality
        return next(iter(self._space.notes(modality)), None) or self._space.encoding(modality)

"""Make the vectors of classes: by valence and arousal, by vectors of words, or by a text encoder in their place.

Used by all trainings, and to compute what is relevant to what from where labels lie. A run notes vectors with where
they come from, and whether they are a substitute.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from emoclim.cache import MemoryCache
from emoclim.data import (
    PARQUET,
    Item,
    LabelMap,
    Manifest,
    Relevance,
    Taxonomy,
    class_vectors,
    has_valence_arousal,
    label_map_names,
    match_labels,
    pick_vectors,
    places_of,
    read_label_map,
    read_relevance,
    read_valence_arousal,
    read_word_table,
    relate_labels,
    relate_nearest,
)
from emoclim.encoders import encoder_names, file_hash, find_encoder, load_encoder, read_word_vectors
from emoclim.errors import ConfigError, ManifestError, name_some
from emoclim.learning import VALENCE_AROUSAL, WORDS, Objective
from emoclim.modality import WRITTEN, Modality
from emoclim.pipeline.training.config import LabelledConfig
from emoclim.stages import extract

TABLES = PARQUET | {".csv", ".tsv"}  # other files hold word vectors as word2vec or GloVe do
OPTIONS = {VALENCE_AROUSAL: "--vad", WORDS: "--word-vectors"}


def check_vectors(objective: Objective, config: LabelledConfig, without_numbers: Collection[Modality]) -> None:
    """Refuse vectors of classes that an objective does not take, and an objective that lacks them.

    Objectives of `targets` take them for the modalities whose items are without numbers.
    """
    values = {VALENCE_AROUSAL: config.vad, WORDS: config.word_vectors}
    given = [kind for kind, value in values.items() if value is not None]
    by_item = "targets" in objective.needs
    taken = objective.vectors_of if "label_vectors" in objective.needs or (by_item and without_numbers) else ()
    if len(given) > 1:
        raise ConfigError("--vad and --word-vectors both give classes their vectors; leave one out")
    if taken and not given:
        ways = " or ".join(f"{OPTIONS[kind]} ({kind})" for kind in OPTIONS if kind in taken)
        lacking = f", or give {name_some(sorted(without_numbers))} items columns valence and arousal" if by_item else ""
        raise ConfigError(f"objective {objective.name} needs a vector of each class; give them by {ways}{lacking}")
    if wrong := [OPTIONS[kind] for kind in given if kind not in taken]:
        others = ", ".join(f"--setting {one}" for one in objective.settings_needing("label_vectors"))
        advice = f", or give {others}, which uses it" if others and given[0] in objective.vectors_of else ""
        raise ConfigError(
            f"{wrong[0]} would have no effect on objective {objective.name}; leave one of the two out{advice}"
        )


def label_vectors(config: LabelledConfig, classes: Sequence[str], tags: Sequence[str] = ()) -> dict[str, Any] | None:
    """Return the vectors of classes, and of tags, as plain values, with their source; None where none are asked for."""
    both = tuple(dict.fromkeys([*classes, *tags]))
    if tags and (found := label_vectors(config, both)):
        known = dict(zip(both, found["table"], strict=True))
        tagged = {tag: known[tag] for tag in tags}
        return found | {"table": [known[name] for name in classes], "tags": tagged}
    if config.vad is not None:
        table = class_vectors(classes, read_valence_arousal(config.vad), config.vad).tolist()
        return {"file": config.vad.name, "sha256": file_hash(config.vad), "table": table}
    if config.word_vectors is None:
        return None
    file = Path(config.word_vectors)
    if file.is_file():
        return {"file": file.name, "sha256": file_hash(file), "table": _read_vectors(file, classes)}
    return _embedded(config.word_vectors, classes)


def mean_of_tags(vectors: Mapping[str, Any], item: Item) -> list[float]:
    """Average the vectors of the tags of an item; nothing where it has none."""
    return [fmean(entries) for entries in zip(*(vectors["tags"][tag] for tag in item.tags), strict=True)]


def read_related(given: Path, labels: Mapping[Modality, Iterable[str]]) -> tuple[LabelMap, Relevance, str]:
    """Read what is relevant to what from a label map, or compute it from where labels lie; and say by what.

    Anything but a TOML file or a published map is a table of valence and arousal, or vectors of words as for
    ``--word-vectors``: relevant to a query is the nearest label of the candidates.
    """
    table = given.suffix.lower() != ".toml" and given.is_file()
    if str(given) in label_map_names() or not (table or str(given) in _text_encoders()):
        return *read_relevance(given, labels), given.stem
    names = sorted(set().union(*labels.values()))
    if table and has_valence_arousal(given):
        places: Mapping[str, Sequence[float]] = places_of(names, read_valence_arousal(given), given)
        places = {name.lower(): place for name, place in places.items()}
    else:
        vectors = _read_vectors(given, names) if table else _embedded(str(given), names)["table"]
        units = ([entry / math.hypot(*vector) for entry in vector] for vector in vectors)
        places = {name.lower(): unit for name, unit in zip(names, units, strict=True)}
    return *relate_nearest(labels, places), f"computed from {given.name}"


def told_of(vectors: Mapping[str, Any] | None) -> str | None:
    """Say so where vectors of classes are a substitute."""
    if not vectors or "substitute" not in vectors:
        return None
    return f"vectors of classes are {vectors['substitute']}'s embeddings of their words, a substitute for word vectors"


def _read_vectors(file: Path, classes: Sequence[str]) -> list[list[float]]:
    """Read the vectors of classes from a table, or from a file of word vectors: of a word as it is spelt, or alike."""
    if file.suffix.lower() in TABLES:
        return read_word_table(file, classes)
    words, vectors = read_word_vectors(file)
    exact = {word: row for row, word in enumerate(words)}
    alike = {word.lower(): row for word, row in reversed(exact.items())}  # the first, which is the most frequent
    rows = {name: exact.get(name, alike.get(name.lower())) for name in classes}
    found = {name.lower(): vectors[row].tolist() for name, row in rows.items() if row is not None}
    return pick_vectors(classes, found, str(file))


def _text_encoders() -> list[str]:
    return [known for known in encoder_names() if find_encoder(known).MODALITY == WRITTEN]


def _embedded(name: str, classes: Sequence[str]) -> dict[str, Any]:
    """Embed the word of each class by a text encoder."""
    texts = _text_encoders()
    if name not in texts:
        raise ConfigError(
            f"there is no file {name}, and no text encoder of that name (there are: {', '.join(texts) or 'none'}); "
            "name a table of words and their vectors, or one of these"
        )
    encoder, table = load_encoder(name), []
    for word in classes:
        with MemoryCache(encoder.spec) as cache:
            asked = Manifest("words", WRITTEN, Path(), (Item(word, text=word),))
            if failures := extract(asked, encoder, cache, batch_size=1).failures:
                raise ManifestError(f"{name} cannot embed the word {word!r} ({failures[0].reason}); map the label away")
            table.append(cache.read(sorted(cache.keys())).values[0].tolist())
    mark = {} if getattr(find_encoder(name), "OF_WORDS", False) else {"substitute": name}
    return {**mark, "encoder": encoder.spec.to_dict(), "table": table}


def relate(
    config: LabelledConfig, labels: Mapping[Modality, set[str]], *, keep_labels: bool
) -> tuple[LabelMap, Taxonomy | None]:
    """Make classes of labels, or where each remains a class of its own, also say what is relevant to what."""
    if not keep_labels:
        return (read_label_map(config.label_map, labels) if config.label_map else match_labels(labels)), None
    if config.label_map is None:
        label_map, relevance = relate_labels(labels)
        return label_map, Taxonomy.of(label_map, relevance)
    label_map, relevance, name = read_related(config.label_map, labels)
    return label_map, Taxonomy.of(label_map, relevance, name)

"""Make the tables of a paper that are of words: labels that labels are mapped to, and the words nearest to some.

Used by the runner. Invariant: what is computed stands beside what is printed, and is used by nothing else.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch.nn.functional import normalize

from emoclim.data import find_dataset, list_words, read_word_table
from emoclim.encoders import read_word_vectors
from emoclim.errors import ManifestError
from emoclim.pipeline.reproduction.request import Request
from emoclim.pipeline.training.label_vectors import TABLES, read_related
from emoclim.reports import Reproduced

N_NEAREST = 10


def label_maps(request: Request) -> dict[str, Reproduced]:
    """Map each label of a table to the nearest of the labels that are ranked, by each of what is given."""
    query, candidate = request.recipe.modalities
    titles = [line.title for line in request.table.lines]
    among = find_dataset(request.recipe.data[candidate].dataset).DESCRIPTION.labels
    found: dict[str, dict[str, str]] = {title: {} for title in titles}
    given = {"va": request.vad, "w2v": request.word_vectors and Path(request.word_vectors)}
    told = []
    for key, path in given.items():
        if path is None:
            continue
        label_map, relevance, how = read_related(Path(path), {query: titles, candidate: among})
        told.append(how)
        for title in titles:
            row = relevance[query, candidate][label_map.classes.index(title)]
            found[title][key] = label_map.classes[int(row.int().argmax())]
    mark = " and ".join(told)
    return {title: Reproduced(mark, cells) for title, cells in found.items() if cells}


def nearest(request: Request) -> dict[str, Reproduced]:
    """List the words that are nearest to that of each line, by the cosines of their vectors."""
    if request.word_vectors is None or not (path := Path(request.word_vectors)).is_file():
        return {}
    words, vectors = _read_all(path)
    units, places = normalize(vectors, dim=1), {word.lower(): row for row, word in reversed([*enumerate(words)])}
    found = {}
    for line in request.table.lines:
        if (row := places.get(line.title)) is None:
            raise ManifestError(f"{path} has no vector of {line.title!r}; give a file that has one")
        order = (units @ units[row]).argsort(descending=True, stable=True)[: N_NEAREST + 1].tolist()
        others = [words[other] for other in order if other != row][:N_NEAREST]
        found[line.title] = Reproduced(f"by {path.name}", {"nearest": ", ".join(others)})
    return found


def _read_all(path: Path) -> tuple[list[str], torch.Tensor]:
    """Read all words and their vectors from a table, or from a file of word2vec or GloVe."""
    if path.suffix.lower() in TABLES:
        words = list_words(path)
        return words, torch.tensor(read_word_table(path, words))
    listed, vectors = read_word_vectors(path)
    return list(listed), torch.as_tensor(vectors, dtype=torch.float32)


OF_WORDS: Mapping[str, Callable[[Request], dict[str, Reproduced]]] = {"label_maps": label_maps, "words": nearest}
TAKEN = {"label_maps": ("vad", "word_vectors"), "words": ("word_vectors",)}

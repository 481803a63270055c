"""Performances of a piece found by how listeners described them, where it is known what there is to find.

No recording of the 45 performances of Con Espressione is public, nor are their mid-level features, so that the numbers
of S. Chowdhury and G. Widmer, "Expressivity-aware music performance retrieval using mid-level perceptual features and
emotion word embeddings", FIRE 2023, cannot be had. Here the features of music are generated: eight dimensions, each a
random direction in the sum of the word vectors of a description, at spread 1, and noise of a spread that is given. Only
the descriptions are real, those in the folder ``--answers``; without it they are generated, too.

One piece is left out at a time. ``least_squares`` learns from the others, and each description of the piece ranks its
performances by the cosine of predicted and standardised features, as in the paper. The peer is scikit-learn's closed
form of the same settings, on the same folds. Last, descriptions are shuffled among all performances: what is found then
must be what a random order finds, exactly 1/5, 2/5 and .4539 of these pieces. A distance is in half-widths of the 95 %
interval of the mean over shuffles, of which the first is solved by ``least_squares``, too.
"""

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from record import Row, command_line, publish
from sklearn.base import RegressorMixin
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.data.datasets.con_espressione import PIECES, prepare
from emoclim.encoders.loading import load_encoder
from emoclim.encoders.text_towers import embed_texts
from emoclim.encoders.word_vectors import WORD
from emoclim.learning.objectives.least_squares import fit_least_squares

HASHED = "hashed"
LENGTH = 1024  # words of a passage: more than the longest description has
DIM, FEATURES = 300, 8  # of hashed word vectors; of music, as in the paper
COMPONENTS, RIDGE = 8, 10.0
FORMS: dict[str, tuple[float, int, Callable[[], RegressorMixin]]] = {
    "least norm": (0.0, 0, LinearRegression),
    f"{COMPONENTS} components": (0.0, COMPONENTS, lambda: make_pipeline(PCA(COMPONENTS), LinearRegression())),
    f"ridge {RIDGE:g}": (RIDGE, 0, lambda: Ridge(RIDGE)),
}
PAPER_HITS = 17


class Data(NamedTuple):
    """Descriptions of performances."""

    texts: Tensor  # (N, D) float64, sums of word vectors
    pieces: list[str]  # (N,)

    @property
    def folds(self) -> list[tuple[Tensor, Tensor]]:
        """Rows to learn from, and those of the piece that is left out."""
        numbers = torch.tensor([list(dict.fromkeys(self.pieces)).index(piece) for piece in self.pieces])
        return [((numbers != n).nonzero()[:, 0], (numbers == n).nonzero()[:, 0]) for n in numbers.unique()]

    def expected(self) -> dict[str, float]:
        """What a random order finds, exactly."""
        sizes = [len(tested) for _, tested in self.folds]
        found = {
            "top-1": len(sizes),
            "top-2": sum(min(2, size) for size in sizes),
            "MRR": sum(1 / rank for size in sizes for rank in range(1, size + 1)),
        }
        return {name: value / len(self.pieces) for name, value in found.items()}


def main() -> None:
    """Plant, find, shuffle."""
    parser = command_line(__doc__)
    parser.add_argument("--answers", type=Path, help="folder of Con Espressione's answers; default generated")
    parser.add_argument("--vectors", default=HASHED, help="file of word vectors, or minilm; default random numbers")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0], help="spreads, rising")
    parser.add_argument("--draws", type=int, default=500, help="of directions and noise")
    parser.add_argument("--shuffles", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    texts, pieces = generated() if asked.answers is None else read(asked.answers)
    data = Data(embed(texts, asked.vectors), pieces)
    published = publish_rows(data, asked)
    publish("Planted characters of performances", __doc__, asked, *published, "torch", "scikit-learn")


def read(folder: Path) -> tuple[list[str], list[str]]:
    """All answers of each performance as one text, and their pieces."""
    items = prepare(folder, items="descriptions").items
    return [item.text or "" for item in items], [item.group or "" for item in items]


def generated() -> tuple[list[str], list[str]]:
    """As many texts as there are performances, of words that are as rare as those of a language."""
    draw, words = np.random.default_rng(0), [f"word{n}" for n in range(1000)]
    chance = 1 / np.arange(1, len(words) + 1)
    pieces = [piece for piece, size in PIECES.items() for _ in range(size)]
    return [" ".join(draw.choice(words, 100, p=chance / chance.sum())) for _ in pieces], pieces


def embed(texts: Sequence[str], vectors: str) -> Tensor:
    """Sum the vectors of the words of each text, ``(N, D)``: those of a file, of an encoder, or random ones."""
    texts = [text.lower().replace("’", "'") for text in texts]
    words = sorted({word for text in texts for word in WORD.findall(text)})
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(vectors)
        if not file.is_file():
            rows = [np.random.default_rng(list(word.encode())).standard_normal(DIM) for word in words]
            found = rows if vectors == HASHED else embed_texts(load_encoder(vectors), words).tolist()
            file = Path(scratch) / "words.txt"
            lines = [" ".join([word, *map(repr, map(float, row))]) for word, row in zip(words, found, strict=True)]
            file.write_text("\n".join([*lines, ""]), encoding="utf-8")
        encoder = load_encoder("word_vectors", checkpoint=file, combine="sum", length=LENGTH)
        return embed_texts(encoder, texts).double()


def plant(data: Data, noise: float, draws: int, generator: torch.Generator) -> Tensor:
    """Features of music ``(N, draws, FEATURES)``."""
    shape = (data.texts.shape[1], draws * FEATURES)
    said = data.texts @ torch.randn(shape, generator=generator, dtype=torch.float64)
    said = (said - said.mean(dim=0)) / said.std(dim=0, correction=0)
    found = said + noise * torch.randn(said.shape, generator=generator, dtype=torch.float64)
    return found.view(-1, draws, FEATURES)


def standardise(music: Tensor, taught: Tensor) -> Tensor:
    """Bring each dimension to mean 0 and spread 1 over the rows that are learnt from."""
    return (music - music[taught].mean(dim=0)) / music[taught].std(dim=0, correction=0)


def rank(predicted: Tensor, music: Tensor) -> Tensor:
    """Rank of a query's own performance among all, ``(..., Q)``, of two ``(..., Q, FEATURES)``."""
    scores = normalize(predicted, dim=-1) @ normalize(music, dim=-1).mT
    own = scores.diagonal(dim1=-2, dim2=-1)[..., None]
    return 1 + (scores > own).sum(dim=-1)


def measure(ranks: Tensor) -> dict[str, Tensor]:
    """Metrics of each draw ``(draws,)``, of ranks ``(draws, N)``."""
    found = {"top-1": ranks == 1, "top-2": ranks <= 2, "MRR": 1 / ranks.double()}
    return {name: values.double().mean(dim=1) for name, values in found.items()}


def find(data: Data, music: Tensor) -> dict[str, dict[str, Any]]:
    """By each closed form: metrics of ours and of scikit-learn's, and how far predictions are apart at most."""
    ranks: dict[str, dict[str, list[Tensor]]] = {name: {"ours": [], "theirs": []} for name in FORMS}
    apart = dict.fromkeys(FORMS, 0.0)
    ridge, components = [form[0] for form in FORMS.values()], [form[1] for form in FORMS.values()]
    for taught, tested in data.folds:
        target = standardise(music, taught)
        learnt = target[taught].flatten(1)
        weight, bias = fit_least_squares(data.texts[taught], learnt, ridge, components)
        for number, (name, (*_, peer)) in enumerate(FORMS.items()):
            fitted = peer().fit(data.texts[taught].numpy(), learnt.numpy())
            own = data.texts[tested] @ weight[number].T + bias[number]
            other = torch.from_numpy(fitted.predict(data.texts[tested].numpy()))
            apart[name] = max(apart[name], float((own - other).abs().max()))
            for whose, predicted in (("ours", own), ("theirs", other)):
                shaped = predicted.view(-1, *music.shape[1:]).transpose(0, 1)
                ranks[name][whose].append(rank(shaped, target[tested].transpose(0, 1)))
    return {
        name: {whose: measure(torch.cat(of, dim=1)) for whose, of in both.items()} | {"apart": apart[name]}
        for name, both in ranks.items()
    }


def shuffle(data: Data, music: Tensor, generator: torch.Generator) -> tuple[dict[str, Tensor], float]:
    """Metrics of each draw when descriptions change places, and how far a fold is from ``least_squares`` at most.

    Where a map of least norm meets all rows that it learns from, those left out, S, are predicted from the inverse G of
    the rows' inner products, bordered by ones for the intercept: y_S less the solution of G_SS x = (G y)_S.
    """
    n_draws, n_items = music.shape[1], len(data.pieces)
    places = torch.rand(n_draws, n_items, generator=generator).argsort(dim=1)
    centred = data.texts - data.texts.mean(dim=0)
    border = torch.ones(n_items + 1, n_items + 1, dtype=torch.float64)
    border[:-1, :-1], border[-1, -1] = centred @ centred.T, 0
    inverse = torch.linalg.inv(border)[:-1, :-1]
    inverse = inverse[places[:, :, None], places[:, None, :]]  # (draws, N, N)
    first, ranks, apart = data.texts[places[0]], [], 0.0
    for taught, tested in data.folds:
        target = standardise(music, taught).transpose(0, 1)  # (draws, N, FEATURES)
        error = torch.linalg.solve(inverse[:, tested[:, None], tested], (inverse @ target)[:, tested])
        predicted = target[:, tested] - error
        (weight,), (bias,) = fit_least_squares(first[taught], target[0, taught], [0.0], [0])
        apart = max(apart, float((predicted[0] - first[tested] @ weight.T - bias).abs().max()))
        ranks.append(rank(predicted, target[:, tested]))
    return measure(torch.cat(ranks, dim=1)), apart


def publish_rows(data: Data, asked: argparse.Namespace) -> tuple[list[Row], dict[str, Any]]:
    """What was found, and details."""
    draw = torch.Generator().manual_seed(asked.seed)
    planted = {noise: find(data, plant(data, noise, asked.draws, draw)) for noise in asked.noise}
    music = plant(data, min(asked.noise), asked.shuffles, draw)
    shuffled, apart = shuffle(data, music, draw)
    details = {
        "items": len(data.pieces),
        "dimensions": data.texts.shape[1],
        "expectation of a random order": data.expected(),
        "planted": [
            {"noise": noise, "by": form, **{name: told(values) for name, values in found["ours"].items()}}
            for noise, forms in planted.items()
            for form, found in forms.items()
        ],
        "shuffled": {name: told(values) for name, values in shuffled.items()},
    }
    n_items = len(data.pieces)
    return [*found_rows(planted, n_items), *shuffled_rows(data, shuffled, apart)], details


def found_rows(planted: dict[float, dict[str, dict[str, Any]]], n_items: int) -> Iterator[Row]:
    """Ours against scikit-learn's, and less from noise to noise."""
    for noise, forms in planted.items():
        for name, found in forms.items():
            ours, theirs = (n_items * float(found[whose]["top-1"].mean()) for whose in ("ours", "theirs"))
            title = f"noise {noise:g}, {name}: hits of {n_items}"
            yield Row(title, ours, "", "scikit-learn", theirs, "0.999 to 1.001")
    worst = max(found["apart"] for forms in planted.values() for found in forms.values())
    yield Row("predictions: largest difference from scikit-learn's", worst, "", goal="<= 1e-8")
    levels = list(planted)
    for less, more in pairwise(levels):
        for name in FORMS:
            lost = planted[less][name]["ours"]["top-1"] - planted[more][name]["ours"]["top-1"]
            yield Row(
                f"{name}: hits lost from noise {less:g} to {more:g}", n_items * float(lost.mean()), "", goal="> 0"
            )


def shuffled_rows(data: Data, shuffled: dict[str, Tensor], apart: float) -> Iterator[Row]:
    """Against a random order."""
    for name, exact in data.expected().items():
        mean, low, high = told(shuffled[name])
        yield Row(f"descriptions shuffled: {name}", mean, "", "random order, exact", exact)
        distance = abs(mean - exact) / max((high - low) / 2, 1e-12)
        yield Row(
            f"descriptions shuffled: {name}, distance from exact", distance, "half-widths", goal="<= 1 half-widths"
        )
    often = (shuffled["top-1"] * len(data.pieces) >= PAPER_HITS - 0.5).double().mean()
    yield Row(f"descriptions shuffled: {PAPER_HITS} hits or more, the paper's best", 100 * float(often), "%")
    yield Row("descriptions shuffled: largest difference from least_squares", apart, "", goal="<= 1e-8")


def told(values: Tensor) -> list[float]:
    """Mean over draws, and the 95 % interval of that."""
    mean, half = float(values.mean()), 1.96 * float(values.std()) / math.sqrt(len(values))
    return [mean, mean - half, mean + half]


if __name__ == "__main__":
    main()

"""How well words of emotions alone join pictures and music, and from how many labels on trained heads do better.

For a workspace with labelled features of pictures and music, and of texts if there are any, by encoders that words can
be compared with, such as those of ``emoclim extract images photos --encoder box``. All is precision at 5, the mean over
queries of a class and then over classes, in percent. Intervals hold 95 % and are of the bootstrap over groups, which
are tracks, persons or single photos; candidates are taken as they are.

Nothing of the words is trained. Their defaults are tried on all items, standardised over the whole libraries, and the
other settings of ``bridge_settings.py``, too: which are best is chosen on a random half of the groups, and told on the
other; what is told of several halves is the range of 95 % of them. Heads (``emo_clim``, default settings) are trained
by labels in folds of whole groups: each item is a query in one fold, in which the candidates are the other items of
that fold, for words and heads alike. The learning curve gives heads so many items of each class and modality, or all
there are, of which a quarter is for validation.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bridge_corpus import CPU, JOINED, MEANT, TEXT, Corpus, Interval, cut, interval, shares
from bridge_settings import compare_settings
from record import Row, command_line, publish
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.learning.objectives.loading import make_objective
from emoclim.modality import MODALITIES
from emoclim.pipeline.workspace import Workspace
from emoclim.stages.head_training import train_heads


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--workspace", type=Path, default=Path())
    parser.add_argument("--images", help="cache of pictures, by its encoder or manifest; default the newest")
    parser.add_argument("--audio", help="cache of music; default the newest")
    parser.add_argument("--text", help=f"cache of texts with labels among {', '.join(MEANT)}; default none")
    parser.add_argument("--encoder", default="minilm", help="text encoder of the words")
    parser.add_argument("--halves", type=int, default=20, help="random halves")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2, help="of the heads")
    parser.add_argument("--labels", type=int, nargs="*", default=[2, 5, 10, 20], help="of a class, for the curve")
    parser.add_argument("--epochs", type=int, default=TrainConfig().epochs)
    parser.add_argument(
        "--batches", type=int, default=TrainConfig().batches_per_epoch, help="of an epoch, and of validation"
    )
    asked = parser.parse_args()
    names = {"image": asked.images, "audio": asked.audio} | ({TEXT: asked.text} if asked.text else {})
    corpus = Corpus.read(Workspace(asked.workspace), names)
    words = measure_words(corpus, asked.encoder)
    settings = compare_settings(corpus, asked.encoder, asked.halves)
    heads = list(measure_heads(corpus, asked))
    details = {"classes": corpus.classes, "words": words, "settings": settings, "heads": heads}
    publish("Words as the bridge", __doc__, asked, list(told(**details)), details, "torch", "scikit-learn")


def measure_words(corpus: Corpus, encoder: str) -> dict[str, Any]:
    """The defaults on all items: every direction, and how often the likeliest of the classes' words is right."""
    found = {}
    for modalities in (JOINED, *([(TEXT, "audio")] if TEXT in corpus.features else [])):
        rows = corpus.labelled(*modalities)
        scores, chance = corpus.scores(rows, corpus.words_heads(modalities, encoder=encoder))
        for name, values in scores.items():
            if name not in found and (TEXT not in modalities or name == f"{TEXT}_audio"):
                found[name] = {"P@5": corpus.interval(rows, name, values), "chance": chance[name]}
    guesses = {}
    for name in corpus.features:
        rows = corpus.labelled(name)
        outputs = corpus.words_heads((name,), encoder=encoder, words=corpus.words).outputs(corpus.features[name])
        right = outputs[name][0].argmax(dim=1) == corpus.labels[name]
        labels = corpus.labels[name][rows[name]]
        guesses[name] = {
            "right": interval(right[rows[name]].double(), labels, corpus.groups[name][rows[name]]),
            "chance": 1 / len(corpus.classes),
            "items": len(labels),
            "groups": len(set(corpus.groups[name][rows[name]].tolist())),
        }
    return {"directions": found, "first guess": guesses}


def measure_heads(corpus: Corpus, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Words and heads on the same queries and candidates, by the number of labels that heads have of a class."""
    bridge = corpus.words_heads(JOINED, encoder=asked.encoder)
    folds = list(cut(corpus, asked.folds))
    for given in (*asked.labels, None):
        found: dict[str, dict[str, list[Tensor]]] = {name: defaultdict(list) for name in ("words", "heads")}
        chances, rows, sizes = defaultdict(list), defaultdict(list), []
        for number, fold in enumerate(folds):
            by_words, chance = corpus.scores(fold, bridge)
            by_seed = []
            for seed in range(asked.seeds):
                train, val = shares(corpus, folds, number, given, seed)
                sizes += [len(train[name]) + len(val[name]) for name in JOINED]
                config = TrainConfig(
                    seed=seed, epochs=asked.epochs, batches_per_epoch=asked.batches, val_batches=asked.batches
                )
                objective = make_objective("emo_clim", JOINED, [{}])
                splits = corpus.split(train), corpus.split(val)
                trained = train_heads(*splits, objective, [objective.default_weights], config, device=CPU).heads
                by_seed.append(corpus.scores(fold, trained)[0])
            for name in by_words:
                found["words"][name].append(by_words[name])
                found["heads"][name].append(torch.stack([one[name] for one in by_seed]).mean(dim=0))
                chances[name].append(chance[name])
            for name, kept in fold.items():
                rows[name].append(kept)
            print(f"{given or 'all'} labels of a class, fold {number}", file=sys.stderr, flush=True)
        whole = {name: torch.cat(parts) for name, parts in rows.items()}
        joined = {who: {name: torch.cat(parts) for name, parts in of.items()} for who, of in found.items()}
        yield {
            "labels of a class": given,
            "items to learn from": float(np.mean(sizes)),
            "directions": {
                name: {
                    **{who: corpus.interval(whole, name, joined[who][name]) for who in joined},
                    "heads - words": corpus.interval(whole, name, joined["heads"][name] - joined["words"][name]),
                    "chance": float(np.mean(chances[name])),
                }
                for name in joined["words"]
            },
        }


def told(words: Mapping[str, Any], settings: Mapping[str, Any], heads: Sequence[Any], **_: object) -> Iterator[Row]:
    """A row for each number that matters, in percent, against a random order or against the words."""
    for name, found in words["directions"].items():
        yield Row(f"words, all items, {shown(name)}{ends(found['P@5'])}", *percent(found["P@5"][0], found["chance"]))
    for name, found in words["first guess"].items():
        label = f"words, class of {MODALITIES[name].nouns} right at first guess{ends(found['right'])}"
        yield Row(label, *percent(found["right"][0], found["chance"]))
    for name, found in settings["told"].items():
        yield Row(f"words, {name}{ends(found['P@5'])}", *percent(found["P@5"][0], found["chance"]))
    for found in heads:
        given = found["labels of a class"] or "all"
        for name, one in found["directions"].items():
            gap = f"; difference{ends(one['heads - words'], signed=True)}"
            label = f"heads, {given} labels of a class, {shown(name)}{ends(one['heads'])}{gap}"
            yield Row(label, 100 * one["heads"][0], "%", "words", 100 * one["words"][0])


def percent(value: float, chance: float) -> tuple[float, str, str, float]:
    """What a row has after its name."""
    return 100 * value, "%", "random order", 100 * chance


def ends(found: Interval, *, signed: bool = False) -> str:
    """The interval, in percent."""
    sign = "+" if signed else ""
    return f" ({100 * found[1]:{sign}.1f} to {100 * found[2]:{sign}.1f})"


def shown(direction: str) -> str:
    """Name a direction in words."""
    return " to ".join(MODALITIES[name].nouns for name in direction.split("_"))  # type: ignore[index]


if __name__ == "__main__":
    main()

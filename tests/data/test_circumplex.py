"""Where classes of emotions lie in the plane of valence and arousal."""

from pathlib import Path

import pytest

from emoclim.data.labels.circumplex import CIRCLE, class_coordinates
from emoclim.data.labels.taxonomy import IMAGE_EMOTIONS, MUSIC_EMOTIONS
from emoclim.data.labels.word_lists import WORD_LISTS
from emoclim.errors import ManifestError

EMOTIONS = {*IMAGE_EMOTIONS, *MUSIC_EMOTIONS, *WORD_LISTS["paper"], *WORD_LISTS["affect"]}


def test_words_lie_around_the_circle_in_the_published_order() -> None:
    angles = [angle for angle, _ in CIRCLE.values()]
    assert angles == sorted(set(angles))
    assert len(angles) == 28
    labels = [label for word, (_, labels) in CIRCLE.items() for label in (word, *labels.split())]
    assert len(labels) == len({*labels})  # each label has one nearest word


@pytest.mark.parametrize("label", sorted(EMOTIONS))
def test_each_known_emotion_has_a_place_and_its_word_is_told(label: str) -> None:
    found = class_coordinates([label.title()])
    valence, arousal = found.places[label.title()]
    assert valence**2 + arousal**2 == pytest.approx(1)
    assert any(label[:3] == word[:3] for word in CIRCLE) or f"{label.title()} at " in found.told


@pytest.mark.parametrize(
    ("label", "valence", "arousal"),
    [("exciting", 1, 1), ("scary", -1, 1), ("angry", -1, 1), ("sad", -1, -1), ("calm", 1, -1), ("tender", 1, -1)],
)
def test_emotions_lie_in_their_quadrants(label: str, valence: int, arousal: int) -> None:
    (place,) = class_coordinates([label]).places.values()
    assert (place[0] * valence > 0, place[1] * arousal > 0) == (True, True)


def test_a_table_takes_the_place_of_the_circle(tmp_path: Path) -> None:
    table = tmp_path / "own.csv"
    table.write_text("word,valence,arousal\nhappy,1,.75\ngrumpy,0.25,.5\n")
    found = class_coordinates(["grumpy", "happy"], table)
    assert found.places == {"grumpy": (-0.5, 0.0), "happy": (1.0, 0.5)}
    assert str(table) in found.told
    with pytest.raises(ManifestError, match="'calm'"):
        class_coordinates(["calm"], table)


def test_a_class_without_a_near_word_is_told() -> None:
    with pytest.raises(ManifestError, match=r"'spicy'.*--vad"):
        class_coordinates(["happy", "spicy"])

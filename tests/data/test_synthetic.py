import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from torch import Tensor

from emoclim.data.generated import corpus as synthetic
from emoclim.data.generated.music import PEAK, SAMPLE_RATE, STYLES, compose, vary
from emoclim.data.generated.pictures import HEIGHT, LOOKS, WIDTH
from emoclim.data.labels.taxonomy import IMAGE_EMOTIONS, MUSIC_EMOTIONS, PARTNERS
from emoclim.data.manifest import Item, read_manifest
from emoclim.encoders.loading import load_encoder
from emoclim.encoders.nets import colour, timbre
from emoclim.errors import ConfigError

SEED, PICTURES, PIECES = 3, 10, 10
Row = dict[str, str]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "data"
    images, audio = synthetic.generate(folder, seed=SEED, pictures_per_label=PICTURES, pieces_per_label=PIECES)
    assert (images, audio) == (folder / "images.csv", folder / "audio.csv")
    return folder


def rows_of(corpus: Path, name: str) -> list[Row]:
    with (corpus / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def encode(corpus: Path, rows: Iterable[Row], name: str) -> Tensor:
    """The feature of each item, ``(N, D)``, of unit length."""
    made = load_encoder(name)
    items = (Item(row["path"], path=corpus / row["path"]) for row in rows)
    with torch.inference_mode():
        features = [torch.cat([made.module(block) for block in made.prepare(item)]).mean(0) for item in items]
    return torch.nn.functional.normalize(torch.stack(features), dim=1)


def test_labels_are_those_of_the_taxonomies() -> None:
    assert set(LOOKS) == set(IMAGE_EMOTIONS)
    assert set(STYLES) == set(MUSIC_EMOTIONS)
    assert {*LOOKS, *STYLES} - {*PARTNERS.keys(), *PARTNERS.values()} == synthetic.WITHOUT_PARTNER


def test_manifests_name_every_file_once(corpus: Path) -> None:
    for name, suffix in (("images", "*.png"), ("audio", "*.flac")):
        paths = [row["path"] for row in rows_of(corpus, f"{name}.csv")]
        assert len(set(paths)) == len(paths)
        assert {corpus / path for path in paths} == set((corpus / name).rglob(suffix))


def test_counts_and_splits(corpus: Path) -> None:
    for name, per_label in (("images.csv", PICTURES), ("audio.csv", PIECES)):
        rows = rows_of(corpus, name)
        for label, count in Counter(row["label"] for row in rows).items():
            assert count == (per_label // 4 if label in synthetic.WITHOUT_PARTNER else per_label)
            if label not in synthetic.WITHOUT_PARTNER:
                splits = Counter(row["split"] for row in rows if row["label"] == label)
                assert splits == {"train": per_label * 3 // 5, "val": per_label // 5, "test": per_label // 5}


def test_manifests_can_be_read(corpus: Path) -> None:
    images, audio = read_manifest(corpus / "images.csv", "image"), read_manifest(corpus / "audio.csv", "audio")
    assert (images.notes, audio.notes) == ((), ())
    assert len({item.group for item in audio.items}) == 6 * PIECES // 2 + 1


def test_pictures_and_pieces_have_their_form(corpus: Path) -> None:
    for row in rows_of(corpus, "images.csv"):
        with Image.open(corpus / row["path"]) as picture:
            assert (picture.mode, picture.size) == ("RGB", (WIDTH, HEIGHT))
            assert np.asarray(picture).std() > 2
    for row in rows_of(corpus, "audio.csv"):
        waveform, rate = soundfile.read(corpus / row["path"])
        assert (rate, waveform.shape) == (SAMPLE_RATE, (10 * SAMPLE_RATE,))
        assert np.abs(waveform).max() <= PEAK + 1e-4
        assert 1e-4 < np.mean(waveform**2) < 0.2
        assert abs(waveform.mean()) < 0.01
        assert np.abs(waveform[[0, -1]]).max() < 1e-3


def test_same_seed_gives_the_same_bytes_in_a_corpus_of_any_size(corpus: Path, tmp_path: Path) -> None:
    told = []

    def track(sequence: Iterable[object], description: str = "", total: float | None = None) -> Iterable[object]:
        told.append((description, total))
        return sequence

    synthetic.generate(tmp_path, seed=SEED, pictures_per_label=4, pieces_per_label=8, track=track)
    assert told == [("pictures", 26), ("pieces of music", 50)]
    files = [*tmp_path.rglob("*.png"), *tmp_path.rglob("*.flac")]
    assert len(files) == 6 * 4 + 2 * 1 + 6 * 8 + 2
    for file in files:
        assert file.read_bytes() == (corpus / file.relative_to(tmp_path)).read_bytes()


def test_other_seed_and_other_excerpt_give_other_music() -> None:
    def excerpt(work: int, part: int) -> np.ndarray:
        return compose("happy", np.random.default_rng(work), np.random.default_rng(part))

    waveform = excerpt(0, 0)
    assert np.array_equal(waveform, excerpt(0, 0))
    assert not np.array_equal(waveform, excerpt(0, 1))
    assert not np.array_equal(waveform, excerpt(1, 0))


def test_works_of_an_emotion_vary_around_its_cues() -> None:
    for label, style in STYLES.items():
        tempos = [vary(label, np.random.default_rng(number)).tempo for number in range(60)]
        assert abs(np.median(tempos) - style.tempo) < 12
        assert np.std(tempos) > 5


def test_tempo_that_is_meant_is_the_tempo_that_sounds() -> None:
    listen = timbre.Listen()
    found, meant = [], []
    for number in range(8):
        waveform = compose("exciting", np.random.default_rng(number), np.random.default_rng(0))
        segment = torch.from_numpy(waveform).float()[None, : 5 * SAMPLE_RATE]
        found.append(float(timbre.tempo(listen(segment))[0, 9]))
        meant.append(np.log2(vary("exciting", np.random.default_rng(number)).tempo))
    octaves = np.abs(np.array(found) - np.array(meant))
    assert np.median(np.minimum(octaves, np.abs(octaves - 1))) < 0.15


def test_cues_can_be_seen_and_heard(corpus: Path) -> None:
    images, audio = rows_of(corpus, "images.csv"), rows_of(corpus, "audio.csv")

    def seen(label: str) -> Tensor:
        made = load_encoder("colour")
        rows = [row for row in images if row["label"] == label]
        blocks = [block for row in rows for block in made.prepare(Item(row["path"], path=corpus / row["path"]))]
        view = colour.planes(torch.cat(blocks))
        return torch.stack([colour.light(view)[:, 0], colour.vividness(view)[:, 0], colour.edges(view)[:, 2]]).mean(1)

    def heard(label: str) -> Tensor:
        rows = [row for row in audio if row["label"] == label]
        waveforms = np.stack([soundfile.read(corpus / row["path"], dtype="float32")[0] for row in rows])
        view = timbre.Listen()(torch.from_numpy(waveforms))
        return torch.stack(
            [timbre.level(view)[:, 0], timbre.shape(view)[:, 0], timbre.onset_strength(view)[:, 3]]
        ).mean(1)

    assert (seen("contentment") > seen("fear"))[:2].all()  # lighter, more saturated
    assert (seen("excitement") > seen("sadness")).all()  # and with more edges
    assert (heard("exciting") > heard("sad")).all()  # louder, brighter, more onsets
    assert (heard("angry") > heard("scary")).all()


@pytest.mark.parametrize(("name", "file"), [("colour", "images.csv"), ("timbre", "audio.csv")])
def test_emotions_are_told_above_chance_but_not_without_error(corpus: Path, name: str, file: str) -> None:
    rows = [row for row in rows_of(corpus, file) if row["label"] not in synthetic.WITHOUT_PARTNER]
    labels = np.array([row["label"] for row in rows])
    groups = np.array([row.get("group", row["path"]) for row in rows])
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    model = LogisticRegression(C=10.0, max_iter=1000)
    guessed = cross_val_predict(model, encode(corpus, rows, name).numpy(), labels, groups=groups, cv=folds)
    assert 0.4 < (guessed == labels).mean() < 0.95  # chance is 0.17


@pytest.mark.parametrize(("seed", "pictures", "pieces"), [(-1, 20, 16), (0, 3, 16), (0, 20, 7)])
def test_too_few_of_a_label_are_refused(tmp_path: Path, seed: int, pictures: int, pieces: int) -> None:
    with pytest.raises(ConfigError, match=f"{pictures} pictures and {pieces} pieces .* {seed}"):
        synthetic.generate(tmp_path, seed=seed, pictures_per_label=pictures, pieces_per_label=pieces)
    assert not list(tmp_path.iterdir())

"""Cross-validation: leave-one-out against single runs and scikit-learn, folds, kills, what is told."""

import csv
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import answer, mistake, run
from forked_engine import Forked
from numpy.typing import NDArray
from pyarrow import parquet
from sklearn.linear_model import Ridge

from emoclim.config import TrainConfig
from emoclim.data import Features, FeatureSpec, Split
from emoclim.learning import make_objective
from emoclim.pipeline.crossing import cross_validate
from emoclim.stages import evaluate, train_heads

PIECES = dict(zip("abcdefghi", (7, 6, 5, 5, 5, 5, 4, 4, 4), strict=True))
NAMES = [f"{piece}{n}" for piece, count in PIECES.items() for n in range(count)]
EXTRA = [f"extra{n}" for n in range(20)]
RIDGES = (0.01, 10.0, 10_000.0)
WIDTHS = {"text": 12, "audio": 8}
LABELS = ("calm", "glad", "wild")
FAST = ("--epochs", 2, "--batches-per-epoch", 3, "--val-batches", 2, "--batch-size", 12)
Array = NDArray[np.float64]


def features() -> dict[str, Array]:
    """Recordings follow from texts, with noise."""
    draw = np.random.default_rng(0)
    texts = draw.standard_normal((len(NAMES + EXTRA), WIDTHS["text"])) + 1
    sounds = texts @ draw.standard_normal((12, 8)) + 3 * draw.standard_normal((len(texts), 8)) + 5
    return {"text": texts.astype(np.float32), "audio": sounds.astype(np.float32)}


def bring(root: Path, labelled: bool = False) -> Path:
    """Import features of items in groups, and of some in none."""
    for modality, values in features().items():
        rows = [
            {"id": name, "path": f"{modality}/{name}.{'txt' if modality == 'text' else 'wav'}"}
            | {"group": "" if name in EXTRA else name[0]}
            | ({"label": LABELS[n % 3]} if labelled else {})
            for n, name in enumerate(NAMES + EXTRA)
        ]
        with (root / f"{modality}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        np.savez(root / f"{modality}.npz", ids=[row["id"] for row in rows], values=values)
        words = ("--name", f"made-{modality}", "--modality", modality, "--manifest", root / f"{modality}.csv")
        run("cache", "import", root / f"{modality}.npz", *words, "--workspace", root)
    return root


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bring(tmp_path_factory.mktemp("paired"))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bring(tmp_path_factory.mktemp("labelled"), labelled=True)


def crossed(root: Path, name: str, *words: object) -> dict[str, Any]:
    return answer("cross-validate", "--name", name, *words, "--no-plots", "--workspace", root)


def queries(root: Path, name: str, evaluation: str = "all-within-group") -> dict[tuple[str, str], dict[str, Any]]:
    """Rows by direction and id."""
    rows = parquet.read_table(root / "runs" / name / "evaluation" / evaluation / "queries.parquet").to_pylist()
    return {(row["direction"], row["id"]): row for row in rows}


def split(names: list[str]) -> Split:
    """Features of some items, with their pairs."""
    rows = torch.tensor([(NAMES + EXTRA).index(name) for name in names])
    values = {name: torch.from_numpy(one)[rows] for name, one in features().items()}
    parts = {
        name: Features(FeatureSpec(f"made-{name}", name, WIDTHS[name], "none", {}), tuple(names), one)  # type: ignore[arg-type]
        for name, one in values.items()
    }
    none = torch.full((len(names),), -1)
    return Split(parts, dict.fromkeys(parts, none), (), pairs=dict.fromkeys(parts, rows))  # type: ignore[arg-type]


def test_leaving_one_piece_out_equals_nine_single_runs(paired: Path) -> None:
    found = crossed(paired, "whole", "--objective", "least_squares", "--setting", "ridge=5")
    together = queries(paired, "whole")
    assert len(together) == 2 * len(NAMES)
    assert {name: one["n_queries"] for name, one in found["directions"].items()} == dict.fromkeys(
        ("audio_text", "text_audio"), len(NAMES)
    )
    for piece, count in PIECES.items():
        own = [name for name in NAMES if name[0] == piece]
        rest = split([name for name in NAMES + EXTRA if name not in own])
        objective = make_objective("least_squares", ("audio", "text"), [{"ridge": 5.0}])
        heads = train_heads(rest, rest, objective, [(1.0,)], TrainConfig(), device="cpu").heads
        report = evaluate(split(own).by_pairs(), heads, ks=(), hits=(1, 2), measures=("MRR",), device="cpu")
        for direction in ("text_audio", "audio_text"):
            alone = report.directions[direction].scores
            for name, values in alone.metrics.items():
                assert [together[direction, id_][name] for id_ in alone.ids] == values.tolist()
            assert {together[direction, id_]["n_candidates"] for id_ in alone.ids} == {count}
    means = np.mean([row["MRR"] for (direction, _), row in together.items() if direction == "text_audio"])
    assert found["directions"]["text_audio"]["metrics"]["MRR"] == pytest.approx(means)
    assert found["directions"]["text_audio"]["random"]["MRR"] == pytest.approx(0.4539, abs=5e-5)
    assert found["directions"]["text_audio"]["random"]["hit@1"] == pytest.approx(0.2)
    assert found["directions"]["text_audio"]["random"]["hit@2"] == pytest.approx(0.4)
    assert not any((paired / "runs" / "whole").glob("heads*"))


def test_further_manifests_teach_in_every_fold_as_items_without_a_group_do(paired: Path, tmp_path: Path) -> None:
    for modality in WIDTHS:
        with (paired / f"{modality}.csv").open(newline="") as file:
            columns, *rows = csv.reader(file)
        parts = {"own": rows[: len(NAMES)], "further": [[*row[:-1], "of their own"] for row in rows[len(NAMES) :]]}
        for part in ("further", "own"):
            place = tmp_path / f"{modality}-{part}.csv"
            place.write_text("\n".join(map(",".join, [columns, *parts[part]])))
            words = ("--name", f"made-{modality}", "--modality", modality, "--manifest", place, "--allow-extra")
            run("cache", "import", paired / f"{modality}.npz", *words, "--workspace", tmp_path)
    extra = [str(tmp_path / f"{modality}-further.csv") for modality in WIDTHS]
    chosen = ("--objective", "least_squares", "--setting", "ridge=5")
    crossed(paired, "at-once", *chosen)
    crossed(tmp_path, "further", *chosen, "--extra", ",".join(extra))
    crossed(tmp_path, "without", *chosen)
    assert queries(tmp_path, "further") == queries(paired, "at-once") != queries(tmp_path, "without")
    named = str(Path("evaluation", "all-within-group"))
    both = ("compare", "further", "without", "--workspace", tmp_path)
    assert named in mistake(*both)
    assert answer(*both, "--split", "all", "--within", "group")["mean"] == "micro"
    own = tmp_path / "text-own.csv"
    for words, told in {
        ("--extra", own): "has item a0, as has",
        ("--extra", paired / "text.csv"): "was extracted into none of",
        ("--extra", extra[0], "--folds", 3): "--extra is in no fold",
    }.items():
        assert told in mistake("cross-validate", *chosen, *words, "--workspace", tmp_path)


def error(train: list[str], test: list[str], ridge: float) -> float:
    """Mean squared error of scikit-learn's regression of targets that are standardised over training items."""
    place = [[(NAMES + EXTRA).index(name) for name in names] for names in (train, test)]
    (x, a), (y, b) = ([values[rows].astype(np.float64) for rows in place] for values in features().values())
    centre, spread = y.mean(axis=0), y.std(axis=0)
    model = Ridge(ridge, solver="svd").fit(x, (y - centre) / spread)
    return float(np.square(model.predict(a) - (b - centre) / spread).mean())


def test_the_penalty_of_a_fold_is_chosen_on_the_others(paired: Path) -> None:
    (paired / "ridges.toml").write_text(f"ridge = {list(RIDGES)}\n")
    words = ("--objective", "least_squares", "--sweep-file", paired / "ridges.toml")
    folds = crossed(paired, "chosen", *words)["settings"]["folds"]
    for fold in folds:
        inner = [piece for piece in PIECES if piece != fold["name"]]
        known = [name for name in NAMES + EXTRA if name in EXTRA or name[0] != fold["name"]]
        means = [
            np.mean(
                [
                    error(
                        [name for name in known if name in EXTRA or name[0] != piece],
                        [name for name in NAMES if name[0] == piece],
                        ridge,
                    )
                    for piece in inner
                ]
            )
            for ridge in RIDGES
        ]
        assert fold["config"]["ridge"] == RIDGES[int(np.argmin(means))]
        assert -fold["score"] == pytest.approx(min(means), rel=1e-4)


def test_folds_share_no_group_and_are_alike_in_labels(labelled: Path) -> None:
    found = crossed(labelled, "five", *FAST, "--folds", 3, "--seed", 7)
    with (labelled / "runs" / "five" / "folds.csv").open(newline="") as file:
        folds = {(row["modality"], row["id"]): row["fold"] for row in csv.DictReader(file)}
    assert len(folds) == 2 * len(NAMES + EXTRA)
    for piece in PIECES:
        assert len({fold for (_, id_), fold in folds.items() if id_ in NAMES and id_[0] == piece}) == 1
    counts = Counter((fold, LABELS[(NAMES + EXTRA).index(id_) % 3]) for (_, id_), fold in folds.items())
    assert len(counts) == 9
    sizes = Counter(fold for (modality, _), fold in folds.items() if modality == "audio")
    for (direction, id_), row in queries(labelled, "five", "all").items():
        if direction == "text_audio":
            assert row["n_candidates"] == sizes[folds["text", id_]]
    assert found["folds"] == 3
    again = crossed(labelled, "six", *FAST, "--folds", 3, "--seed", 7, "--setting", "no_positive=skip")
    assert again["settings"]["plan"] != found["settings"]["plan"]
    compared = answer("compare", "five", "six", "--split", "all", "--workspace", labelled)
    assert compared["split"] == "all"


def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("cross-validate", *FAST, "--folds", 3, "--temperature", 0.1, "--temperature", 0.5, "--no-plots")
    run(*words, "--name", "whole", "--workspace", labelled)
    train, begun = cross_validate.FoldTraining._train, list[str]()

    def stopping(self: Any, parts: Any, space: Any, rule: str, folder: str) -> Any:
        begun.append(folder)
        found = train(self, parts, space, rule, folder)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(cross_validate.FoldTraining, "_train", stopping)
    result = run(*words, "--name", "parts", "--workspace", labelled, code=130)
    assert "emoclim cross-validate --resume parts" in result.stderr
    assert not (labelled / "runs" / "parts" / "folds.csv").exists()
    run("cross-validate", "--resume", "parts", "--workspace", labelled)
    require_same_bytes(labelled, "parts", "whole")


def test_folds_on_workers_that_die_come_to_the_same_bytes(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Forked(workers=2, longest=1.0, kills=4)
    monkeypatch.setattr("emoclim.cluster.open_engine", lambda text, device: engine)
    words = ("cross-validate", *FAST, "--folds", 3, "--temperature", 0.1, "--temperature", 0.5, "--no-plots")
    run(*words, "--name", "shared", "--on", "local:2", "--workspace", labelled)
    assert engine.started >= 2
    run(*words, "--name", "alone", "--workspace", labelled)
    require_same_bytes(labelled, "shared", "alone")


def require_same_bytes(labelled: Path, parts: str, whole: str) -> None:
    """Compare all files of two runs but what tells of their making."""
    files = {
        name: {
            str(path.relative_to(labelled / "runs" / name)): path.read_bytes().replace(parts.encode(), whole.encode())
            for path in (labelled / "runs" / name).rglob("*")
            if path.is_file() and path.name != "run.json"
        }
        for name in (whole, parts)
    }
    assert files[parts].keys() == files[whole].keys()
    for name, content in files[whole].items():
        if not name.endswith(".parquet"):
            assert files[parts][name] == content, name
    assert queries(labelled, parts, "all") == queries(labelled, whole, "all")


def test_the_page_shows_examples_of_single_folds(labelled: Path) -> None:
    result = run("cross-validate", *FAST, "--folds", 2, "--name", "shown", "--workspace", labelled)
    folder = labelled / "runs" / "shown" / "evaluation" / "all"
    assert "2 folds" in result.stdout
    assert "by heads that were trained without them" in (folder / "report.html").read_text()
    assert (folder / "per_class.png").is_file()
    assert not (folder / "joint_space.png").exists()


def test_what_cannot_be_divided_is_told(paired: Path, tmp_path: Path) -> None:
    words = ("cross-validate", "--objective", "least_squares")
    assert "groups for" in mistake(*words, "--folds", 60, "--workspace", paired)
    text = (paired / "text.csv").read_text()
    root = Path(shutil.copytree(paired, tmp_path / "one"))
    lines = [line.rsplit(",", 1)[0] + (",a" if line.startswith("a") else ",") for line in text.splitlines()[1:]]
    (root / "text.csv").write_text("\n".join([text.splitlines()[0], *lines]) + "\n")
    assert "1 groups are in audio and text alike" in mistake(*words, "--workspace", root)


def test_no_pair_is_torn_between_what_heads_learn_and_stop_by(paired: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, folds in (("pieces", ()), ("parts", ("--folds", 3))):
        found = crossed(paired, f"paired-{name}", "--objective", "nt_xent", *FAST, *folds)
        assert found["relevant"] == "partner"
    assert "belong to nothing" not in caplog.text


def test_numbers_are_predicted_of_one_modality_by_heads_of_other_groups(tmp_path: Path) -> None:
    values = features()["audio"][: len(NAMES)]
    rows = [
        {
            "id": name,
            "path": f"{name}.wav",
            "group": name[0],
            **dict(zip(("valence", "arousal"), ("", "") if name == "a0" else row[:2], strict=True)),
        }
        for name, row in zip(NAMES, values, strict=True)
    ]
    with (tmp_path / "audio.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    np.savez(tmp_path / "audio.npz", ids=NAMES, values=values)
    words = ("--name", "made", "--modality", "audio", "--manifest", tmp_path / "audio.csv", "--workspace", tmp_path)
    run("cache", "import", tmp_path / "audio.npz", *words)
    long = ("--epochs", 40, "--learning-rate", 0.01, "--batches-per-epoch", 10)
    found = crossed(tmp_path, "one", "--objective", "va_regression", "--audio", "made", *FAST[4:], *long, "--folds", 3)
    assert found["directions"] == {}
    assert [(one["name"], one["n_items"]) for one in found["numbers"]] == [("valence", 44), ("arousal", 44)]
    assert all(one["metrics"]["r"]["value"] > 0.3 for one in found["numbers"])
    chosen = ("--objective", "regression", "--setting", "columns=arousal")
    found = crossed(tmp_path, "column", *chosen, "--audio", "made", *FAST, "--folds", 2)
    assert [(one["name"], one["n_items"]) for one in found["numbers"]] == [("arousal", 44)]
    for words in (("evaluate", "column"), ("search", "any", "--run", "column")):
        assert "keeps no heads" in mistake(*words, "--workspace", tmp_path)
    train = ("train-heads", "--name", "heads", *chosen, "--audio", "made", *FAST)
    assert "1 of 45" in run(*train, "--workspace", tmp_path).stdout

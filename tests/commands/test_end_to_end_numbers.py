"""`emoclim train-end-to-end` on valence and arousal of items, with a small encoder."""

import csv
import json
from pathlib import Path

from commands import answer
from end_to_end_workspace import begin
from end_to_end_workspace import finished as finished
from end_to_end_workspace import workspace as workspace


def give_numbers(manifest: Path) -> None:
    """Put valence and arousal in the place of labels."""
    rows = list(csv.DictReader(manifest.read_text(encoding="utf-8").splitlines()))
    with manifest.open("w", newline="", encoding="utf-8") as file:
        names = [name for name in rows[0] if name != "label"]
        writer = csv.DictWriter(file, [*names, "valence", "arousal"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row | {"valence": len(row["label"]), "arousal": number % 5} for number, row in enumerate(rows))


def test_an_encoder_is_trained_on_valence_and_arousal(workspace: Path) -> None:
    for name in ("images.csv", "audio.csv"):
        give_numbers(workspace / "data" / name)
    trained = answer(*begin(workspace, "--objective", "va_regression", "--name", "felt"))
    assert (trained["select"], trained["terms"]) == ("loss", ["image", "audio"])
    folder = workspace / "runs" / "felt"
    losses = json.loads((folder / "history.json").read_text(encoding="utf-8"))["heads"][0]["val_loss"]
    assert None not in losses
    encoder = ("--encoder", "small_cnn", "--checkpoint", folder / "encoder.safetensors", "--setting", "width=8")
    answer("extract", "audio", *encoder, "--workers", 0, "--workspace", workspace)
    found = answer("evaluate", "felt", "--no-plots", "--workspace", workspace)
    assert [one["modality"] for one in found["numbers"]] == ["image", "image", "audio", "audio"]
    music = ("--audio", workspace / "data" / "audio.csv", "--objective", "va_regression", "--name", "music")
    assert answer(*begin(workspace, *music))["terms"] == ["audio"]


def test_the_features_of_an_encoder_become_the_columns(workspace: Path) -> None:
    manifest = workspace / "data" / "audio.csv"
    rows = list(csv.DictReader(manifest.read_text(encoding="utf-8").splitlines()))
    columns = [f"rating {place}" for place in range(8)]  # as many as the encoder has values
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "split", "group", *columns], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(
            row | {name: n * place % 5 for place, name in enumerate(columns)} for n, row in enumerate(rows)
        )
    config = workspace / "quick.toml"
    config.write_text(f'columns = "{",".join(columns)}"\nhead = "none"\n{config.read_text()}')
    music = ("--audio", manifest, "--objective", "regression", "--name", "rated")
    assert answer(*begin(workspace, *music))["terms"] == ["audio"]
    folder = workspace / "runs" / "rated"
    encoder = ("--encoder", "small_cnn", "--checkpoint", folder / "encoder.safetensors", "--setting", "width=8")
    answer("extract", "audio", *encoder, "--workers", 0, "--workspace", workspace)
    found = answer("evaluate", "rated", "--no-plots", "--workspace", workspace)
    assert [one["name"] for one in found["numbers"]] == columns

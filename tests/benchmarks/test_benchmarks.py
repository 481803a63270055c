"""The benchmarks: that every script runs and tells its result in the one form, never how fast anything is."""

import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_encoder
import torch
from benchmark_scripts import BENCHMARKS, script
from benchmark_scripts import undisturbed as undisturbed
from commands import run
from pseudo_weights import TINY_CLIP, register_tiny_clip
from sklearn.linear_model import LinearRegression
from toy_objectives import install

from emoclim.encoders.loading import load_encoder
from emoclim.modality import Modality
from emoclim.pipeline import Workspace, import_features

KEYS = ["title", "about", "command", "options", "machine", "rows", "details"]
ROW_KEYS = ["name", "ours", "unit", "against", "theirs", "ratio", "goal", "met"]
NO_BENCHMARKS = {
    "bridge_corpus",
    "bridge_settings",
    "clock",
    "doomed_extraction",
    "generated",
    "record",
    "render",
    "suite",
}


pytestmark = pytest.mark.usefixtures("undisturbed")


def measure(name: str, options: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The result of a script, in this process."""
    path = folder / "kept" / "result.json"
    words = [f"benchmarks/{name}.py", *shlex.split(options), "--json", str(path)]
    monkeypatch.setattr(sys, "argv", words)
    script(name).main()
    assert str(folder) not in path.read_text(encoding="utf-8")  # nor any other place of this machine
    result = json.loads(path.read_text(encoding="utf-8"))
    assert list(result) == KEYS
    assert result["command"].startswith(f"python benchmarks/{name}.py")
    assert "--json" not in result["command"]
    assert result["title"]
    assert result["about"].startswith(script(name).__doc__.partition("\n")[0])
    assert {"processor", "cores", "memory_gb", "gpu", "system", "python", "packages"} <= result["machine"].keys()
    assert result["rows"]
    for row in result["rows"]:
        assert list(row) == ROW_KEYS
        assert math.isfinite(row["ours"])
        assert (row["against"] is None) == (row["theirs"] is None) == (row["ratio"] is None)
        assert (row["goal"] is None) == (row["met"] is None)
    assert len({(row["name"], row["against"]) for row in result["rows"]}) == len(result["rows"])
    return dict(result)


def tiny(name: str) -> str:
    return str(script("suite").TINY[name])


def test_every_script_can_be_tried() -> None:
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")} - NO_BENCHMARKS
    assert scripts == script("suite").TINY.keys() == {run.script for run in script("suite").RUNS}


@pytest.mark.parametrize(
    "name",
    [
        "startup",
        "cache_read",
        "rerun",
        "retrieval",
        "tagging",
        "sweep_step",
        "end_to_end",
        "uncertainty",
        "emomusic",
        "planted",
        "ratings",
    ],
)
def test_a_script_tells_its_result(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = measure(name, tiny(name), tmp_path, monkeypatch)
    assert any(row["goal"] for row in result["rows"])


def test_a_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper_run = script("paper_run")
    small = paper_run.Subject(torch.nn.Flatten, (3, 4), 1, 2)
    monkeypatch.setattr(paper_run, "subjects", lambda _: dict.fromkeys(("clip", *paper_run.MUSIC), small))
    result = measure("paper_run", tiny("paper_run"), tmp_path, monkeypatch)
    assert len(result["rows"]) == 2 * len(paper_run.MUSIC) * len(paper_run.PRESETS) * 2
    assert result["details"]["encodings_of_each_modality"]["paper-code"] == 576_000


def test_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, asked = script("memory"), []

    def peak(words: list[str]) -> float:
        asked.append(words)
        if len(asked) % 2:  # of two that are compared, the smaller
            run(*words)
        return 1e8 * len(asked)

    monkeypatch.setattr(memory, "peak", peak)
    monkeypatch.setattr(memory, "run", lambda words: run(*words))
    monkeypatch.setattr(memory, "TRAINED", 12)
    monkeypatch.setattr(memory, "CLIP_SECONDS", 0.5)
    monkeypatch.setattr(memory, "TIMES", 2)
    words = f"{tiny('memory')} --clips 1 --steps 1 --workers 0 --parts {' '.join(memory.PARTS)}"
    pictures, clips, steps, hours = measure("memory", words, tmp_path, monkeypatch)["rows"]
    assert [words[0] for words in asked] == [*4 * ["extract"], *2 * ["train-end-to-end"], "extract"]
    assert [(row["theirs"], row["ours"]) for row in (pictures, clips, steps)] == [(100, 200), (300, 400), (500, 600)]
    assert {row["goal"] for row in (pictures, clips, steps)} == {"<= 1.05"}
    assert (hours["ours"], hours["goal"]) == (0.7, "< 1.5 GB")
    assert hours["theirs"] == pytest.approx(36 * 44_100 * 4 / 1e9, rel=1e-3)


def test_memory_of_a_program_and_its_children_is_seen() -> None:
    held = "import time; block = bytearray(b'x') * 150_000_000; time.sleep(1)"
    family = f"import subprocess, sys; one = subprocess.Popen([sys.executable, '-c', {held!r}]); {held}; one.wait()"
    assert script("memory").watched([sys.executable, "-c", family]) > 300e6
    with pytest.raises(RuntimeError, match="failed: no such luck"):
        script("memory").watched([sys.executable, "-c", "raise SystemExit('no such luck')"])


@pytest.mark.parametrize("options", ["--encoder musicnn --precision bf16", f"--encoder clip --model {TINY_CLIP}"])
def test_extraction(options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny_clip(tmp_path)
    words = f"{options} {tiny('extraction')} --workers 0 1 --rate 5000"
    result = measure("extraction", words, tmp_path, monkeypatch)
    details, rows = result["details"], result["rows"]
    assert details["limit_seconds"] == details["forward_seconds"] + details["decode_core_seconds"] / details["cores"]
    assert (details["segments"], details["batches"]) == (3, 2)
    assert details["parameters"] == "pseudo-weights: speed only"
    decoding = ["soundfile and soxr"] if "musicnn" in options else []
    ways = ["forward + decoding / cores", "one file at a time"]
    assert [row["against"] for row in rows if row["against"]] == decoding + 2 * ways
    unit = "clips/s" if decoding else "images/s"
    assert [row["goal"] for row in rows if row["unit"] == unit] == 2 * [f">= 5000 {unit}"]
    assert {row["name"].rpartition(": ")[2] for row in rows} >= {"read", "decode", "waiting", "compute", "write"}


@pytest.mark.parametrize("real", [False, True])
def test_decoders(real: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny_clip(tmp_path)
    words = f"--pictures 2 --large 2 --rounds 1 --model {TINY_CLIP}"
    if real:
        items = script("generated").manifest("image", tmp_path, 3, 0, "").items
        (tmp_path / "000000.jpg").write_bytes(b"no picture")
        words += f" --pictures 3 --manifest {script('generated').write_csv(tmp_path / 'photos.csv', items)}"
    monkeypatch.setattr(script("decoders"), "LARGE", (1280, 960))
    result = measure("decoders", words, tmp_path, monkeypatch)
    sizes = ["real"] if real else ["generated, 640 x 480", "generated, 1280 x 960"]
    assert list(result["details"]["subjects"]) == [f"2 pictures, {size}" for size in sizes]
    for one in result["details"]["subjects"].values():
        assert 0 < one["pixels"]["draft"] < one["pixels_apart"] / 5
        assert 0 < one["features"]["draft"]["mean"] <= one["features"]["draft"]["worst"]
        assert one["pixels"]["pillow"] == one["features"]["pillow"]["worst"] == 0 < one["features_apart"]["mean"]
    assert len([row for row in result["rows"] if row["goal"]]) == (0 if real else 2)


def test_extraction_of_real_files_leaves_copies_and_damaged_ones_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_tiny_clip(tmp_path)
    items = script("generated").manifest("image", tmp_path, 3, 0, "").items
    paths = [item.path for item in items if item.path]
    paths[0].write_bytes(paths[1].read_bytes())
    paths[2].write_bytes(paths[2].read_bytes()[:1000])
    source = script("generated").write_csv(tmp_path / "photos.csv", items)
    words = f"{tiny('extraction')} --encoder clip --model {TINY_CLIP} --manifest {source} --items 5"
    result = measure("extraction", words, tmp_path, monkeypatch)
    assert "--manifest photos.csv" in result["command"]
    assert result["options"]["manifest"] == "photos.csv"
    assert result["rows"][0]["name"] == f"clip {TINY_CLIP} fp32, pseudo-weights, 1 real images, 1 worker"


def test_generated_files_all_differ_and_can_be_decoded(tmp_path: Path) -> None:
    generated = script("generated")
    for modality, number in (("image", generated.ORIGINALS + 2), ("audio", generated.ORIGINALS // 4 + 2)):
        items = generated.manifest(modality, tmp_path, number, 0.5, "mp3").items
        assert len({item.path.read_bytes() for item in items}) == number
        sizes = [item.path.stat().st_size for item in items]
        encoder = load_encoder("colour" if modality == "image" else "timbre")
        assert [len(torch.cat(list(encoder.prepare(item)))) for item in items[-3:]] == [1, 1, 1]
        assert modality == "audio" or 60_000 < min(sizes) < max(sizes) < 120_000


def test_bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "wordy", {"noise": "wordy_noise"}, "emoclim.encoders")
    monkeypatch.syspath_prepend(tmp_path)
    draw = torch.Generator().manual_seed(0)
    labels = {"images": ("fear", "sadness"), "audio": ("scary", "sad"), "text": ("fear", "joy")}
    modalities: tuple[Modality, ...] = ("image", "audio", "text")
    for modality, names in zip(modalities, labels, strict=True):
        rows = [f"{n},{n}.any,some words,{labels[names][n % 2]},{n // 2},train" for n in range(36)]
        table = tmp_path / f"{names}.csv"
        table.write_text("\n".join(["id,path,text,label,group,split", *rows]))
        values = torch.randn(36, 7, generator=draw).numpy()
        np.savez(tmp_path / "values.npz", ids=np.arange(36).astype(str), values=values)
        import_features(tmp_path / "values.npz", modality, "noise", source=table, workspace=Workspace(tmp_path))
    options = f"{tiny('bridge')} --workspace {tmp_path} --text noise --encoder noise"
    result = measure("bridge", options, tmp_path, monkeypatch)
    assert {row["against"] for row in result["rows"]} == {"random order", "words"}
    found, factors = result["details"], result["details"]["settings"]["each factor"]
    assert found["words"]["directions"]["image_audio"]["P@5"] == pytest.approx(factors[0]["image_audio"])
    assert [one["labels of a class"] for one in found["heads"]] == [2, None]


def test_planted_characters_are_ranked_as_one_by_one() -> None:
    planted = script("planted")
    texts, pieces = planted.generated()
    data = planted.Data(planted.embed(texts, "hashed"), pieces)
    assert data.expected() == pytest.approx({"top-1": 0.2, "top-2": 0.4, "MRR": 0.4539153})
    music = planted.plant(data, 0.5, 2, torch.Generator().manual_seed(0))
    found = planted.find(data, music)["least norm"]["ours"]
    ranks: dict[int, list[int]] = {0: [], 1: []}
    for left_out in dict.fromkeys(pieces):
        own, other = (torch.tensor([(piece == left_out) == part for piece in pieces]) for part in (True, False))
        for draw, into in ranks.items():
            learnt = music[other, draw]
            features = ((music[:, draw] - learnt.mean(0)) / learnt.std(0, correction=0)).numpy()
            model = LinearRegression().fit(data.texts[other].numpy(), features[other])
            for row, answer in enumerate(model.predict(data.texts[own].numpy())):
                scores = [answer @ one / np.linalg.norm(one) for one in features[own]]
                into.append(1 + sum(score > scores[row] for score in scores))
    assert found["top-1"].tolist() == pytest.approx([ranks[draw].count(1) / 45 for draw in ranks])
    assert found["MRR"].tolist() == pytest.approx([np.mean([1 / rank for rank in ranks[draw]]) for draw in ranks])


def test_unfreezing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generated = script("generated")
    for modality, name in (("image", "images"), ("audio", "audio")):
        (tmp_path / "data" / name).mkdir(parents=True)
        items = generated.manifest(modality, tmp_path / "data" / name, 18, 0.5, "wav").items
        generated.write_csv(tmp_path / "data" / f"{name}.csv", items)
    run("extract", "images", "--encoder", "colour", "--workspace", tmp_path, "--workers", 0)
    monkeypatch.setattr(script("unfreezing"), "load_encoder", lambda *_, **__: small_encoder.make_encoder())
    result = measure("unfreezing", f"{tiny('unfreezing')} --workspace {tmp_path}", tmp_path, monkeypatch)
    names = {row["name"].partition(":")[0] for row in result["rows"]}
    assert names == {"frozen, long", "unfrozen"}
    assert {row["against"] for row in result["rows"]} == {"frozen"}


def test_conditioning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("audiomentations", reason="augmentations need the extra [augment]")
    pytest.importorskip("av", reason="videos need the extra [media]")
    for module in ("emoclim.data.generated.music", "emoclim.data.generated.videos", "conditioning"):
        monkeypatch.setattr(f"{module}.SECONDS", 4)
    monkeypatch.setattr("conditioning.CLIP", 3.5)
    rows = measure("conditioning", tiny("conditioning"), tmp_path, monkeypatch)["rows"]
    alone, conditioned, longer, steps = rows
    assert alone["against"] == "chance"
    assert conditioned["theirs"] == longer["theirs"] == (alone["ours"] or None)
    assert (steps["ours"], steps["theirs"]) == (conditioned["ours"], longer["ours"] or None)
    found = script("conditioning").told(
        [{"audio only": 0.5, "conditioned": 0.6 + seed / 100, "audio only, as long": 0.5} for seed in range(5)]
    )
    assert found[1].name == "conditioned; difference to audio only +12.00 (+10.04 to +13.96)"


def test_a_linear_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoclim.data.generated.music.SECONDS", 3.1)  # one segment of each recording
    result = measure("linear_probe", tiny("linear_probe"), tmp_path, monkeypatch)
    first, *others = result["rows"]
    assert [row["name"].partition(":")[0] for row in result["rows"]] == [
        "random network, seed 42",
        "random network, seed 43",
        "timbre",
    ]
    assert {row["theirs"] for row in others} == {first["ours"]}
    predicted = script("linear_probe").predicted
    labels, draw = np.arange(60) % 3, np.random.default_rng(0)
    values = np.eye(3)[labels] + 0.1 * draw.standard_normal((60, 3))
    groups = np.arange(60) // 2
    assert (predicted(values, labels, groups, 5, 0).argmax(axis=1) == labels).all()
    noise = predicted(np.repeat(draw.standard_normal((30, 40)), 2, axis=0), labels, groups, 5, 0)
    assert (noise.argmax(axis=1) == labels).mean() < 0.6  # nothing of a track is learnt from its other half

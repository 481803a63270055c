"""Several processes that train one encoder give what one gives with the whole batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from processes import exit_codes, start
from replica_worker import run, trained
from small_encoder import Material, make_material, make_net

from emoclim.learning.end_to_end.distributed import Replicas
from emoclim.modality import Modality

TOLERANCE = 1e-5


def run_processes(count: int, folder: Path, material: Material, tuning: dict[str, Any]) -> list[dict[str, Any]]:
    """What each of some processes writes."""
    processes = [start(run, rank, count, folder, material, tuning, told=folder / "told") for rank in range(count)]
    assert exit_codes(*processes) == [0] * count, (folder / "told").read_text()
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]


@pytest.mark.parametrize(
    ("name", "modalities"),
    [
        ("emo_clim", ("audio",)),
        ("emo_clim", ("audio", "text")),
        ("nt_xent", ("audio",)),
        ("nt_xent", ("audio", "text")),
    ],
)
def test_two_processes_give_the_gradients_of_one_with_the_whole_batch(
    tmp_path: Path, name: str, modalities: tuple[Modality, ...]
) -> None:
    """One file cannot be decoded: their parts of a batch are often of different sizes."""
    material = make_material(tmp_path)
    (tmp_path / "train-3.wav").write_bytes(b"no sound")
    tuning = {"batchnorm": "frozen", "clip_norm": 1.0}
    own: dict[str, Any] = {"modalities": modalities, "name": name}
    alone = trained(material, tuning, **own)
    for rank, together in enumerate(run_processes(2, tmp_path, material, {**tuning, **own})):
        assert together.keys() == alone.keys()
        for what, tensor in alone.items():
            # a bias before batch normalisation has a gradient of rounding errors alone, which Adam makes steps of; they
            # change nothing but for the running means that lag behind it, which validation uses
            allowed = 0.02 if what == "loss.val_loss" else TOLERANCE
            torch.testing.assert_close(together[what], tensor, rtol=0, atol=allowed, msg=f"{what} of {rank}")
    assert max(float(tensor.abs().max()) for what, tensor in alone.items() if what.startswith("gradient")) > 0.01


def test_processes_whose_normalisations_see_their_part_only_still_agree(tmp_path: Path) -> None:
    """Bit for bit, so that none stops before another; what is frozen or constant has not moved."""
    material = make_material(tmp_path)
    found = run_processes(3, tmp_path, material, {"batchnorm": "train", "unfreeze": "last:1"})
    before = make_net().state_dict()
    for name, tensor in found[0].items():
        if not name.startswith("gradient"):
            assert all(torch.equal(other[name], tensor) for other in found[1:]), name
    moved = {name for name, tensor in before.items() if not torch.equal(found[0][f"encoder.audio.{name}"], tensor)}
    statistics = {f"{norm}.{kind}" for norm in ("layer1.1", "bn") for kind in ("running_mean", "running_var")}
    assert statistics <= moved
    assert not moved & {"scale", "layer1.0.weight", "tags.weight"}


def test_what_ends_one_process_ends_the_others(tmp_path: Path) -> None:
    """Here, that one of them can read none of the files that it is given."""
    material = make_material(tmp_path)
    first, second = run_processes(2, tmp_path, material, {"spoilt": 1})
    assert first["told"].startswith("another of the processes could not go on")
    assert second["told"].startswith("fewer than 2 files of a batch can be used")


@pytest.mark.parametrize(("rows", "count"), [(64, 2), (7, 3), (2, 4)])
def test_the_parts_of_a_batch_follow_each_other(rows: int, count: int) -> None:
    parts = [range(rows)[Replicas(rank, count).part(rows)] for rank in range(count)]
    assert [place for part in parts for place in part] == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_has_nothing_to_communicate() -> None:
    rows = torch.ones(3, 2)
    alone = Replicas()
    assert alone.gather(rows) is rows
    alone.average([rows])
    assert torch.equal(rows, torch.ones(3, 2))

"""Several processes that train one encoder give what one gives with the whole batch."""

from pathlib import Path

import pytest
import torch
from replica_worker import run, trained
from small_encoder import make_material
from torch import multiprocessing

from emoclim.replicas import Replicas

TOLERANCE = 1e-5


def test_two_processes_give_the_gradients_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    """One file cannot be decoded: their parts of a batch are often of different sizes."""
    material = make_material(tmp_path)
    (tmp_path / "train-3.wav").write_bytes(b"no sound")
    tuning = {"batchnorm": "frozen", "clip_norm": 1.0}
    alone = trained(material, tuning)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=run, args=(rank, 2, tmp_path, material, tuning)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt")
        assert together.keys() == alone.keys()
        for name, tensor in alone.items():
            # a bias before batch normalisation has a gradient of rounding errors alone, which Adam makes steps of; they
            # change nothing but for the running means that lag behind it, which validation uses
            allowed = 100 * TOLERANCE if name == "loss.val_loss" else TOLERANCE
            torch.testing.assert_close(together[name], tensor, rtol=0, atol=allowed, msg=f"{name} of {rank}")
    assert max(float(tensor.abs().max()) for name, tensor in alone.items() if name.startswith("gradient")) > 0.01


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

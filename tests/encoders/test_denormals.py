"""Denormal numbers: none in parameters, zero in every process of ours, and in the caller's what they were."""

import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_encoder import write_tone
from torch import Tensor, nn

from emoclim.data.features import FeatureSpec
from emoclim.encoders import fit, musicnn, read_tensors
from emoclim.encoders.arithmetic import zero_denormals
from emoclim.learning.banks.base import HeadBank
from emoclim.learning.branches import Banks
from emoclim.learning.heads import Heads
from emoclim.learning.heads_file import load_heads, save_heads
from emoclim.modality import MODALITIES

PROBE = """
import sys, torch
from emoclim.encoders.arithmetic import SMALLEST

def left():
    "How many of 4 million denormal numbers two threads do not take for zero, forwards and backwards."
    torch.set_num_threads(2)
    tiny = torch.full((1 << 22,), 1e-39, requires_grad=True)
    (tiny * 1e-20).sum().mul(1e-20).backward()
    return int((tiny * 1.5).count_nonzero() + tiny.grad.count_nonzero())
"""
COMMANDS = """
import os
from typer.main import get_command
from emoclim.cli import app

def leaves(command, *names):
    if not hasattr(command, "list_commands"):
        return [(" ".join(names), command)]
    return sum((leaves(command.get_command(None, name), *names, name) for name in command.list_commands(None)), [])

def answer():
    os._exit(0 if left() == 0 and 'torch' in sys.modules else 1)

for name, command in leaves(get_command(app)):
    if not (child := os.fork()):
        command.callback = answer
        command.invoke(command.context_class(command))
    if os.waitpid(child, 0)[1]:
        print(name)
"""
EXTRACTING = """
from pathlib import Path
from emoclim.config import ExtractConfig
from emoclim.pipeline import Workspace, extract_features
from emoclim.stages.encoding import Encoding

found, finish = [], Encoding.finish_items

def probed(self, *given, **named):
    found.append(left())
    yield from finish(self, *given, **named)

Encoding.finish_items = probed
root = Path(sys.argv[1])
extract_features("audio", root, ExtractConfig(encoder="timbre"), workspace=Workspace(root), device="cpu")
print(found, SMALLEST * 1.0)
"""
WORKERS = """
from emoclim.learning.end_to_end.crops import CropLoader, CropMaker
from emoclim.data.manifest import Item
from emoclim.extraction.workers import decode
from emoclim.learning.sampling import Batch
from small_encoder import make_encoder

class Probe:
    def prepare(self, item):
        yield torch.tensor([left()])
        return 1.0

def crop(item, generator):
    return torch.tensor([left()])

if __name__ == "__main__":
    items = [Item("a", text="a"), Item("b", text="b")]
    print([int(block) for _, block in decode(Probe(), items, 2) if isinstance(block, torch.Tensor)])
    rows = {"audio": torch.tensor([[0], [1]])}
    crops = CropLoader([CropMaker(make_encoder(), items, crop)], seed=1, workers=1, device=torch.device("cpu"))
    for batch in crops.fill([Batch(rows, rows)], "probe"):
        print(batch.rows["audio"].flatten().tolist())
    print(SMALLEST * 1.0)
"""
LIBRARY = """
import sys
from pathlib import Path
smallest = 5e-324
import emoclim
print(smallest * 1.0)
from emoclim.cache.memory import MemoryCache
root = Path(sys.argv[1])
for item in range(3):
    from small_encoder import write_tone
    write_tone(root / f"{item}.wav", 300, 4.0, item)
encoder = emoclim.load_encoder("timbre")
with MemoryCache(encoder.spec) as cache:
    emoclim.extract(emoclim.read_manifest(root, "audio", unlabelled=True), encoder, cache, workers=1)
    print(len(cache), smallest * 1.0)
"""


def told(script: str, *words: object) -> list[str]:
    """What a script prints, line by line, in a process with two threads."""
    environment = {"OMP_NUM_THREADS": "2", "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-W", "error", "-c", script, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def denormals(tensors: dict[str, Tensor]) -> int:
    return sum(
        int(((tensor != 0) & (tensor.abs() < torch.finfo(tensor.dtype).tiny)).sum())
        for tensor in tensors.values()
        if tensor.is_floating_point()
    )


# Processes


def test_commands_that_compute_take_denormals_for_zero() -> None:
    by_themselves = [f"extract {modality.folder}" for modality in MODALITIES.values()]  # only while they encode
    others = ["cache list", "cache info", "cache gc", "prepare", "encoders"]  # these do not
    assert sorted(told(PROBE + COMMANDS)) == sorted(by_themselves + others)


def test_the_command_that_extracts_takes_them_for_zero_while_it_encodes(tmp_path: Path) -> None:
    (tmp_path / "calm").mkdir()
    write_tone(tmp_path / "calm" / "a.wav", 300, 4.0, 0)
    assert told(PROBE + EXTRACTING, tmp_path) == ["[0] 5e-324"]


def test_workers_take_denormals_for_zero_and_the_caller_does_not() -> None:
    assert told(PROBE + WORKERS) == ["[0, 0]", "[0, 0]", "5e-324"]


def test_the_library_leaves_the_arithmetic_of_its_caller(tmp_path: Path) -> None:
    assert told(LIBRARY, tmp_path) == ["5e-324", "3 5e-324"]


# Parameters


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(3, 2)
        self.register_buffer("wide", torch.ones(2, dtype=torch.float64))
        self.register_buffer("low", torch.ones(2, dtype=torch.float16))
        self.register_buffer("count", torch.tensor(3))


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_parameters_as_loaded_hold_none(form: str, tmp_path: Path) -> None:
    smallest = torch.finfo(torch.float32).tiny
    state = Net().state_dict() | {
        "dense.bias": torch.tensor([1e-40, -smallest]),
        "wide": torch.tensor([-1e-310, 1e-40], dtype=torch.float64),
        "low": torch.tensor([1e-6, 1.0]).half(),  # of which float32 makes one that is not denormal
    }
    if form == "safetensors":
        safetensors.torch.save_file(state, tmp_path / "net")
    else:
        torch.save(state, tmp_path / "net", _use_new_zipfile_serialization=form == "zip")
    net = Net()
    fit(net, read_tensors(tmp_path / "net"), tmp_path / "net")
    found = net.state_dict()
    assert found["dense.bias"].tolist() == [0.0, -smallest]
    assert found["wide"].tolist() == [0.0, 1e-40]
    for name in ("dense.weight", "low", "count"):
        assert torch.equal(found[name], state[name])
    assert denormals(read_tensors(tmp_path / "net")) > denormals({"low": state["low"]})  # the file is as it was


def test_heads_as_loaded_hold_none(tmp_path: Path) -> None:
    bank = HeadBank(1, 4, 16, 16, dropout=0.0, generator=torch.Generator())
    with torch.no_grad():
        bank.hidden_weight[0, 0] = torch.tensor([1e-40, -1e-45, 1e-30, 2.0])
    save_heads(
        Heads(Banks({"image": bank}), {"image": FeatureSpec("clip", "image", 4, "none", {})}), tmp_path / "heads"
    )
    state = load_heads(tmp_path / "heads").banks["image"].state_dict()
    assert denormals(state) == 0
    assert state["hidden_weight"][0, 0].tolist() == pytest.approx([0.0, 0.0, 1e-30, 2.0])
    assert torch.equal(state["hidden_weight"][0, 1:], bank.hidden_weight[0, 1:])


def test_a_published_file_is_loaded_without_its_own(shared: Path) -> None:
    path = shared / "weights" / "mtat_musicnn.pth"
    tensors = read_tensors(path)
    assert denormals(tensors) > 100_000
    assert denormals(musicnn.load(checkpoint=path).module.state_dict()) == 0
    zero_denormals(tensors.values())
    assert denormals(tensors) == 0

"""Files of parameters: reading them safely, and fitting them into a network."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from emoclim.encoders import fit, identity, read_tensors
from emoclim.errors import CheckpointError


class Net(nn.Module):
    """One of each kind of entry that a state dict can have."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.transposed = nn.Parameter(torch.arange(12.0).reshape(3, 4).t())
        self.register_buffer("low", torch.tensor([0.5, -2.0]).half())
        self.register_buffer("empty", torch.empty(0))
        self.register_buffer("flag", torch.tensor(True))
        self.sizes = [1, 2]

    def forward(self, rows: Tensor) -> Tensor:
        return self.norm(self.linear(rows)) + self.sizes[0]


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.fixture
def state() -> dict[str, Tensor]:
    return Net().state_dict()


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_usual_format_is_read(form: str, prefix: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "net.bin"  # the content tells the format, not the name
    named = {f"{prefix}{name}": tensor.contiguous() for name, tensor in state.items()}
    if form == "safetensors":
        safetensors.torch.save_file(named, path)
    else:
        torch.save({"epoch": 3, "state_dict": named}, path, _use_new_zipfile_serialization=form == "zip")
    assert_equal(read_tensors(path), state)


def test_a_prefix_is_taken_off_only_if_all_bear_it(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "net.pt")
    assert read_tensors(tmp_path / "net.pt").keys() == {"module.a", "b"}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numpy_scalars_and_new_pickle_protocols_are_no_obstacle(
    protocol: int, state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "clap.pt"
    named = {f"module.{name}": tensor for name, tensor in state.items()}
    content = {
        "best": np.float64(0.5),
        "epoch": np.int64(4),
        "state_dict": named,
        "parameter": nn.Parameter(torch.ones(1)),
    }
    torch.save(content, path, pickle_protocol=protocol)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert_equal(read_tensors(path), state)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("how", ["trace", "script"])
def test_torchscript_archives_are_read_without_their_code(how: str, tmp_path: Path) -> None:
    net = Net().eval()
    scripted = torch.jit.trace(net, torch.ones(1, 3)) if how == "trace" else torch.jit.script(net)
    path, broken = tmp_path / "net.pt", tmp_path / "broken.pt"
    torch.jit.save(scripted, path)
    assert_equal(read_tensors(path), dict(scripted.state_dict()))
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(broken, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"this is no program" if "/code/" in name else source.read(name))
    with pytest.raises(RuntimeError):
        torch.jit.load(broken)
    assert_equal(read_tensors(broken), net.state_dict())


class Malicious:
    """Pickles to a call that would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_file_is_not_run(protocol: int, tmp_path: Path, *, legacy: bool) -> None:
    path, trace = tmp_path / "net.pt", tmp_path / "it ran"
    content = {"state_dict": {"a": torch.ones(1)}, "extra": Malicious(trace)}
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        read_tensors(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_code_in_a_torchscript_archive_is_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "net.pt", tmp_path / "it ran"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps(Malicious(trace)))
        archive.writestr("net/constants.pkl", pickle.dumps(()))
    with pytest.raises(CheckpointError, match="which could run code"):
        read_tensors(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>not found</html>", b"PK\x03\x04 cut short", b"\x80\x02.", bytes(8) + b"{", pickle.dumps({"a": 1})],
)
def test_other_files_are_told_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"net\.pth cannot be read as a checkpoint") as told:
        read_tensors(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.ones(1)], {"state_dict": 3}, {"state_dict": {"a": 1}}])
def test_a_checkpoint_without_named_tensors_is_told(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="holds no table of named tensors"):
        read_tensors(tmp_path / "net.pth")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    for read in (read_tensors, identity):
        with pytest.raises(CheckpointError, match=r"no checkpoint at .*absent\.pth"):
            read(tmp_path / "absent.pth")


def test_fit_copies_everything_and_keeps_the_modules_precision(state: dict[str, Tensor]) -> None:
    net = Net()
    changed = {name: (tensor + 1 if tensor.is_floating_point() else tensor) for name, tensor in state.items()}
    fit(
        net, {name: tensor.half() if name == "linear.weight" else tensor for name, tensor in changed.items()}, Path("x")
    )
    assert net.linear.weight.dtype == torch.float32
    assert torch.allclose(net.linear.weight, changed["linear.weight"], atol=1e-3)
    assert torch.equal(net.transposed, changed["transposed"])


def test_fit_names_all_that_does_not_fit(state: dict[str, Tensor]) -> None:
    tensors = {name: tensor for name, tensor in state.items() if not name.startswith("norm.")}
    tensors |= {"linear.weight": torch.ones(2, 4), "head.weight": torch.ones(1)}
    net = Net()
    before = net.linear.bias.clone()
    with pytest.raises(CheckpointError) as told:
        fit(net, tensors | {"linear.bias": torch.ones(2)}, Path("other.pth"))
    assert str(told.value) == (
        "other.pth does not fit Net (5 missing: norm.weight, norm.bias, norm.running_mean, norm.running_var, "
        "norm.num_batches_tracked; 1 unexpected: head.weight; 1 of another shape: linear.weight (2, 4) for (2, 3)); "
        "name one made for it"
    )
    assert torch.equal(net.linear.bias, before)


def test_fit_bounds_its_message(state: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match=r"1000 unexpected: x0, x1, x2, x3, x4 and 995 more"):
        fit(Net(), state | {f"x{number}": torch.ones(1) for number in range(1000)}, Path("other.pth"))

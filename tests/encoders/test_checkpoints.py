"""Files of parameters: reading them safely, and fitting them into a network."""

import os
import pickle
import random
import resource
import runpy
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from mutations import mutate
from soaking import rounds, soak
from torch import Tensor, nn

from emoclim.encoders import fit, identity, musicnn, read_tensors
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
def test_every_usual_format_is_read(form: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "net.bin"  # the content tells the format, not the name
    named = {name: tensor.contiguous() for name, tensor in state.items()}
    if form == "safetensors":
        safetensors.torch.save_file(named, path)
    else:
        torch.save(named, path, _use_new_zipfile_serialization=form == "zip")
    assert_equal(read_tensors(path), state)


def test_names_of_tables_in_tables_are_joined(tmp_path: Path) -> None:
    one = {"a": torch.ones(1)}
    torch.save({"epoch": 3, "model": {"net": one, "b": torch.ones(2)}, "again": one, 3: one}, tmp_path / "net.pt")
    assert read_tensors(tmp_path / "net.pt").keys() == {"model.net.a", "model.b"}


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.complex64, torch.uint16, torch.float8_e4m3fn])
def test_every_type_of_number_is_read(kind: torch.dtype, tmp_path: Path) -> None:
    whole = torch.arange(12).reshape(3, 4).to(kind)
    shared = {"whole": whole, "part": whole[1:, 2], "flipped": whole.t(), "parameter": nn.Parameter(torch.ones(2))}
    shared["parameter"].mark = "x"  # type: ignore[attr-defined]
    torch.save(shared, tmp_path / "net.pt")
    found = read_tensors(tmp_path / "net.pt")
    for name, tensor in shared.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(*(one.detach().contiguous().view(torch.uint8) for one in (found[name], tensor)))


WRAPPINGS: list[tuple[str, ...]] = [
    ("state_dict",), ("model_state_dict",), ("model",), ("module",), ("model", "state_dict"), ("net", "model_ema"),
]  # fmt: skip
PREFIXES = [
    "",
    "module.",
    "_orig_mod.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "model.",
    "net.",
    "encoder.",
    "backbone.",
]
PREFIXES += ["module.model._orig_mod.encoder.", "ema_model.module."]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("wrapping", [(), *WRAPPINGS], ids=".".join)
def test_wrappings_and_prefixes_of_frameworks_are_taken_off(
    wrapping: tuple[str, ...], prefix: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    content: dict[str, Any] = {f"{prefix}{name}": tensor + 1 for name, tensor in state.items() if "num_b" not in name}
    content |= {"n_averaged": torch.tensor(1)} if prefix else {}
    for name in reversed(wrapping):
        content = {"epoch": 3, name: content, "optimizer": {"state": {"a": {"exp_avg": torch.ones(2, 3)}}}}
    net = Net()
    torch.save(content, tmp_path / "net.pt")
    fit(net, read_tensors(tmp_path / "net.pt"), tmp_path / "net.pt")
    assert_equal(net.state_dict(), {n: one if "num_b" in n else (one + 1).to(one.dtype) for n, one in state.items()})


def test_wrappers_inside_names_count_for_nothing(state: dict[str, Tensor]) -> None:
    net = Net()
    fit(net, {name.replace("linear.", "linear._orig_mod.module."): one * 0 for name, one in state.items()}, Path("x"))
    assert not net.linear.weight.any()


def test_a_running_average_is_taken_only_where_nothing_else_fits(state: dict[str, Tensor]) -> None:
    averaged = {name: tensor * 0 for name, tensor in state.items()}
    for prefix in ("ema.", "model_ema.module.", "teacher.", "callbacks.EMA.", "target_encoder.", "shadow."):
        net = Net()
        both = {f"{prefix}{name}": one for name, one in averaged.items()} | {
            f"net.{n}": one for n, one in state.items()
        }
        fit(net, both, Path("x"))
        assert torch.equal(net.linear.weight, state["linear.weight"])
        fit(net, {name: one for name, one in both.items() if name.startswith(prefix)}, Path("x"))
        assert not net.linear.weight.any()


def test_two_sets_that_fit_are_named(state: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match=r"2 sets that fit, below 'left\.', 'right\.'"):
        fit(Net(), {f"{side}.{name}": one for side in ("left", "right") for name, one in state.items()}, Path("x.pt"))
    with pytest.raises(CheckpointError, match="2 sets that fit"):
        fit(Net(), {f"{side}{name}": one for side in ("module.", "") for name, one in state.items()}, Path("x.pt"))


def test_what_does_not_fit_names_the_prefix(state: dict[str, Tensor]) -> None:
    state.pop("norm.weight")
    with pytest.raises(CheckpointError, match=r"\(below 'encoder\.' 1 missing: norm.weight\)"):
        fit(Net(), {f"encoder.{name}": one for name, one in state.items()}, Path("x.pt"))


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("linear.bias", torch.tensor([1.0, torch.nan]), "1 with NaN"),
        ("linear.bias", torch.tensor([1.0, -torch.inf]), "1 with infinity"),
        ("linear.bias", torch.tensor([1.0, 1e300], dtype=torch.float64), "1 with infinity"),
        ("norm.running_var", torch.tensor([1.0, -1e-6]), "1 with negative variances"),
        ("linear.bias", torch.tensor([1, 2]), r"1 of another type \(torch.int64 for torch.float32\)"),
        ("linear.bias", torch.tensor([True, False]), r"1 of another type \(torch.bool for torch.float32\)"),
        ("linear.bias", torch.tensor([1j, 2]), r"1 of another type \(torch.complex64 for torch.float32\)"),
        ("flag", torch.tensor(1j), r"1 of another type \(torch.complex64 for torch.bool\)"),
    ],
)
def test_parameters_that_no_training_leaves_are_named(
    state: dict[str, Tensor], name: str, values: Tensor, told: str
) -> None:
    net = Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"{told}: {name}"):
        fit(net, state | {name: values}, Path("x.pt"))
    assert_equal(net.state_dict(), before)


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
    expected = {"parameter": torch.ones(1), **{f"state_dict.{name}": tensor for name, tensor in named.items()}}
    assert_equal(read_tensors(path), expected)


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
    [b"<html>not found</html>", b"PK\x03\x04 cut short", b"\x80\x02.", bytes(8) + b"{", pickle.dumps({"a": 1})],
)
def test_other_files_are_told_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"net\.pth cannot be read as a checkpoint") as told:
        read_tensors(path)
    assert "\n" not in str(told.value)


def archive(path: Path, described: bytes, storage: bytes = bytes(64), packed: int = zipfile.ZIP_STORED) -> Path:
    """Write what `torch.save` would: what describes the tensors, and one storage."""
    with zipfile.ZipFile(path, "w", packed) as target:
        target.writestr("net/data.pkl", described)
        target.writestr("net/data/0", storage)
    return path


def legacy_file(path: Path, described: bytes, storage: bytes = bytes(64)) -> Path:
    """Write what `torch.save` wrote before 1.6."""
    about = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    pickles = [*(pickle.dumps(one, 2) for one in about), described, pickle.dumps(["0"], 2)]
    path.write_bytes(b"".join(pickles) + (len(storage) // 4).to_bytes(8, "little") + storage)
    return path


PID = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQ"  # the storage `0`
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def tensor(offset: int = 0, size: int = 16, stride: int = 1) -> bytes:
    """Pickle a tensor as torch does."""
    numbers = (b"J" + number.to_bytes(4, "little", signed=True) for number in (offset, size, stride))
    return REBUILD + b"(" + PID + b"%b(%bt(%bt\x89NtR" % tuple(numbers)


def table(*values: bytes) -> bytes:
    """Pickle a table of values under names."""
    return b"\x80\x02}(" + b"".join(b"X\x01\0\0\0%c" % (97 + n) + value for n, value in enumerate(values)) + b"u."


@pytest.mark.parametrize("write", [archive, legacy_file])
def test_a_pickle_of_hand_is_read_as_one_of_torch(write: Callable[..., Path], tmp_path: Path) -> None:
    inner = tensor(4, 3, 2).removeprefix(REBUILD).removesuffix(b"R")
    path = write(tmp_path / "net.pt", table(tensor(), by_type(REBUILD, inner)), torch.arange(16.0).numpy().tobytes())
    assert_equal(read_tensors(path), {"a": torch.arange(16.0), "b": torch.tensor([4.0, 6.0, 8.0])})


def by_type(made: bytes, arguments: bytes) -> bytes:
    """Pickle a call as torch does for a subclass of tensors."""
    return b"ctorch._tensor\n_rebuild_from_type_v2\n(" + made + b"ctorch\nTensor\n" + arguments + b"NtR"


def copies(count: int, call: bytes) -> bytes:
    """Pickle a list of pairs, and many tables that are made of it by some call."""
    pairs = b"](" + b"".join(b"X\x04\0\0\0%04dN\x86" % number for number in range(count)) + b"eq\x01"
    return b"\x80\x02" + pairs + b"(" + call * count + b"t."


DEEP = b"K\x01" + b"2\x86" * 60  # a pair of pairs of pairs: to hash it takes 2 ** 60 steps
SHARED = b"}q\x01" + b"".join(b"}(X\x01\0\0\0ah%cX\x01\0\0\0bh%cuq%c" % (n, n, n + 1) for n in range(1, 60))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "described",
    [
        table(b"Nr\xff\xff\xff\x1f", b"Nr\xff\xff\xff\x7f", b"N"),  # noted under a number beyond memory
        table(b"\x96\0\0\0\0\x01\0\0\0"),  # a bytearray of 4 GB
        table(b"\x8e\0\0\0\0\x01\0\0\0"),  # bytes of 4 GB
        table(b"\x8b\xff\xff\xff\x7f"),  # a number of 2 GB
        b"\x80\x02}(" + DEEP + b"Nu.",
        b"\x80\x02\x8f(" + DEEP + b"\x90.",
        b"\x80\x02" + SHARED + b".",
        copies(3_000, b"ccollections\nOrderedDict\nh\x01\x85R"),
        copies(3_000, by_type(b"ccollections\nOrderedDict\n", b"h\x01\x85")),
        table(tensor() + b"(" + PID + b"K\0(J\0\0\0\x01t(K\x01ttb"),  # a tensor is given a larger shape
        table(REBUILD + b"(}X\x08\0\0\0__code__K\x01s\x86b"),  # a function is given other code
        table(REBUILD + b"N}X\x08\0\0\0__code__K\x01s\x86b"),
        table(tensor(size=17)),
        table(tensor(offset=-1)),
        table(tensor(size=2**31 - 1, stride=2**31 - 1)),
        table(tensor(stride=-1)),
        table(tensor(size=-1)),
        b"\x80\x02" + b"]" * 100_000 + b".",
        b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".",
        b"\x80\x02" + b"}X\x01\0\0\0a" * 50_000 + b"N" + b"s" * 50_000 + b".",
        b"\x80\x02\x82\x01.",
        b"\x80\x02.",
        b"\x80\x02h\x01.",
    ],
    ids=range(23),
)
def test_what_a_pickle_asks_for_takes_neither_memory_nor_time(
    described: bytes, tmp_path: Path, *, legacy: bool
) -> None:
    path = (legacy_file if legacy else archive)(tmp_path / "net.pt", described)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError) as told:
        read_tensors(path)
    assert len(str(told.value)) < 300 + len(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize("packed", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("part", ["tensors", "pickle"])
def test_what_is_packed_takes_no_more_than_the_limit(
    part: str, packed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = table(tensor(), b"(" + b"K\x01" * (500_000 if part == "pickle" else 1) + b"l")
    path = archive(tmp_path / "net.pt", described, bytes(1_000_000 if part == "tensors" else 64), packed)
    monkeypatch.setenv("EMOCLIM_MEMORY_LIMIT", "0.0009")
    with pytest.raises(CheckpointError, match="EMOCLIM_MEMORY_LIMIT=1|packed in a way"):
        read_tensors(path)
    if packed == zipfile.ZIP_DEFLATED:
        monkeypatch.setenv("EMOCLIM_MEMORY_LIMIT", "1")
        assert read_tensors(path)["a"].shape == (16,)


def test_nothing_that_is_no_regular_file_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        for read in (read_tensors, identity):
            with pytest.raises(CheckpointError, match="is no regular file"):
                read(path)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "net.pt").touch()
    with pytest.raises(CheckpointError, match="is empty"):
        read_tensors(tmp_path / "net.pt")


def test_every_cut_of_a_file_is_told(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    for form in (True, False):
        torch.save(state, path, _use_new_zipfile_serialization=form)
        content = path.read_bytes()
        for length in range(1, len(content) - 1, 97):
            path.write_bytes(content[:length])
            with pytest.raises(CheckpointError):
                read_tensors(path)


def test_the_cases_of_frameworks_are_read(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = shared / "weights" / "mtat_musicnn.pth"
    monkeypatch.setattr(sys, "argv", ["", str(source), str(tmp_path)])
    runpy.run_path(str(shared / "cases" / "make_checkpoints.py"))
    expected = musicnn.load(checkpoint=source).module.state_dict()
    names = (
        "model_state_dict.pth model_key.pth nested.pth compiled.pth compiled_ddp.pth ddp_compiled.pth lightning.ckpt "
    )
    names += "dataparallel_wrapped_plus.pth no_num_batches.pth lightning.safetensors lightning_namespace.ckpt"
    for name in names.split():
        found = musicnn.load(checkpoint=tmp_path / name).module.state_dict()
        assert all(torch.equal(found[key], one) for key, one in expected.items() if not key.endswith("batches_tracked"))


@pytest.mark.parametrize(
    "content", [{}, {"epoch": 3}, [torch.ones(1)], torch.ones(1), {"state_dict": 3}, {"state_dict": {"a": 1}}]
)
def test_a_checkpoint_without_named_tensors_is_told(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="holds no table of named tensors"):
        read_tensors(tmp_path / "net.pth")


@pytest.mark.parametrize("form", [list, tuple])
def test_the_one_table_of_a_list_is_read(form: Callable[[list[object]], object], tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.ones(3)).sum().backward()
    optimiser.step()
    for beside in ([], [optimiser.state_dict()], [7, torch.ones(3)]):
        torch.save(form([net.state_dict(), *beside]), tmp_path / "net.pth")
        assert_equal(read_tensors(tmp_path / "net.pth"), net.state_dict())
    state = net.state_dict()
    torch.save(form([{"model": state}, state]), tmp_path / "net.pth")  # the same once more
    assert read_tensors(tmp_path / "net.pth").keys() == {"model.weight", "model.bias"}


def test_of_several_tables_in_a_list_none_is_chosen(tmp_path: Path) -> None:
    torch.save([nn.Linear(3, 2).state_dict(), nn.Linear(3, 2).state_dict()], tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"a list of several tables.*save one of them alone"):
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
        "other.pth does not fit Net (4 missing: norm.weight, norm.bias, norm.running_mean, norm.running_var; "
        "1 unexpected: head.weight; 1 of another shape: linear.weight (2, 4) for (2, 3)); "
        "name one made for it"
    )
    assert torch.equal(net.linear.bias, before)


def test_fit_bounds_its_message(state: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match=r"1000 unexpected: x0, x1, x2, x3, x4 and 995 more"):
        fit(Net(), state | {f"x{number}": torch.ones(1) for number in range(1000)}, Path("other.pth"))


@soak
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("form", ["zip", "legacy", "script", "safetensors"])
def test_a_spoilt_checkpoint_is_read_or_refused(form: str, tmp_path: Path) -> None:
    net, path = Net().eval(), tmp_path / "net"
    if form == "script":
        torch.jit.save(torch.jit.script(net), path)
    elif form == "safetensors":
        safetensors.torch.save_file({name: one.contiguous() for name, one in net.state_dict().items()}, path)
    else:
        torch.save({"state_dict": net.state_dict()}, path, _use_new_zipfile_serialization=form == "zip")
    content, refused = path.read_bytes(), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(rounds(200)):
        path.unlink()  # tensors may look into it
        path.write_bytes(mutate(content, "net", random.Random(number)))
        try:
            fit(Net(), read_tensors(path), path)
        except CheckpointError:
            refused += 1
    assert 0 < refused < rounds(200)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB

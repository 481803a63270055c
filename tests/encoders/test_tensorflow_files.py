"""TensorFlow checkpoints, read without TensorFlow."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mutations import mutate
from tensorflow_bundle import block, field, masked, number, sealed, table, write_bundle

from emoclim.encoders import read_tensors
from emoclim.errors import CheckpointError

DRAW = np.random.default_rng(0)
TENSORS = {
    "dense/kernel": DRAW.standard_normal((20, 7)).astype(np.float32),
    "dense/kernel/Adam": DRAW.standard_normal((20, 7)).astype(np.float32),
    "dense/bias": DRAW.standard_normal(7),
    "global_step": np.array(300, np.int64),
    "none": np.zeros((0, 3), np.float32),
    "table": np.arange(300, dtype=np.int32).reshape(3, 4, 25),
}


@pytest.mark.parametrize(("prefix", "per_block"), [("", 3), ("model.ckpt-7", 1), ("net", 100)])
def test_what_was_written_is_read(tmp_path: Path, prefix: str, per_block: int) -> None:
    found = read_tensors(write_bundle(tmp_path, TENSORS, prefix, per_block))
    assert found.keys() == TENSORS.keys()
    for name, values in TENSORS.items():
        torch.testing.assert_close(found[name], torch.from_numpy(values.copy()), rtol=0, atol=0)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_changed_byte_is_noticed_wherever_it_stands(tmp_path: Path, suffix: str) -> None:
    small = {"dense/bias": TENSORS["dense/bias"], "global_step": TENSORS["global_step"]}
    path = write_bundle(tmp_path, small)
    file = tmp_path / suffix
    content, expected = file.read_bytes(), read_tensors(path)
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :])
        try:
            found = read_tensors(path)
        except CheckpointError:
            continue
        # only what fills the footer up is not covered by checksums
        assert suffix == ".index"
        assert len(content) - 48 < place < len(content) - 8
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("seed", range(30))
def test_spoilt_files_are_refused_in_one_sentence(tmp_path: Path, seed: int) -> None:
    path, draw = write_bundle(tmp_path, TENSORS), random.Random(seed)
    file = tmp_path / draw.choice([".index", ".data-00000-of-00001"])
    content = file.read_bytes()
    file.write_bytes(spoilt := mutate(content, file.name, draw))
    try:
        read_tensors(path)
    except CheckpointError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert spoilt.startswith(content[:-48]) or file.suffix != ".index"


def test_a_file_of_data_without_its_index_says_what_is_missing(tmp_path: Path) -> None:
    path = write_bundle(tmp_path, TENSORS)
    (tmp_path / ".index").unlink()
    with pytest.raises(CheckpointError, match=r"without \.index; put that beside it"):
        read_tensors(path)


@pytest.mark.parametrize(
    "entry",
    [
        field(1, 1) + field(5, 2**40),  # larger than the data
        field(1, 7) + field(5, 4),  # strings
        field(1, 1) + field(3, 1) + field(5, 4),  # in a second file of data
        field(1, 1) + field(2, field(2, field(1, 2**62))) + field(5, 8),  # a shape beyond all memory
        field(1, 1) + field(2, 5) + field(5, 8),  # a number for a shape
        field(1, b"x") + field(5, 8),  # a text for a type
    ],
)
def test_entries_that_cannot_be_are_refused(tmp_path: Path, entry: bytes) -> None:
    path = write_bundle(tmp_path, {"x": np.ones(2, np.float32)})
    checked = entry + bytes([6 << 3 | 5]) + masked(np.ones(2, np.float32).tobytes()).to_bytes(4, "little")
    (tmp_path / ".index").write_bytes(table([[(b"", b""), (b"x", checked)]]))
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        read_tensors(path)


def test_blocks_that_are_named_many_times_are_not_read_as_often(tmp_path: Path) -> None:
    """A table of 1 kB whose index sends the reader to itself a thousand times."""
    path = write_bundle(tmp_path, {"x": np.ones(2, np.float32)})
    index = (tmp_path / ".index").read_bytes()
    first = block([(b"", b"")])
    handles = block([(b"k%04d" % one, number(0) + number(len(first))) for one in range(1000)])
    content = sealed(first)
    footer = number(0) + number(len(first)) + number(len(content)) + number(len(handles))
    (tmp_path / ".index").write_bytes(content + sealed(handles) + footer.ljust(40, b"\0") + index[-8:])
    with pytest.raises(CheckpointError, match="names more than it holds"):
        read_tensors(path)

"""Files of parameters: find or download one, verify it, and read its tensors without running anything from it.

Convention: files lie in the folder ``checkpoints`` of ``EMOCLIM_HOME``, or else of ``emoclim`` in the user's cache; a
file appears there whole and verified or not at all.
"""

import os
import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from emoclim.encoders.denormals import zero_denormals
from emoclim.encoders.download import download, file_hash, has_hash
from emoclim.encoders.torch_archive import is_script, read_archive
from emoclim.errors import CheckpointError
from emoclim.progress import Track

NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Published:
    """A file of parameters that somebody published."""

    file: str
    url: str
    hash: str | None  # `"sha256:<hex>"` or `"git-blob:<hex>"`, possibly only the first digits; None if not known
    licence: str
    trained_on: tuple[str, ...]  # the data sets that its parameters have seen


def location(published: Published) -> Path:
    """Where a published file lies on this machine, or would lie."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("EMOCLIM_HOME") or cache / "emoclim")
    return home / "checkpoints" / published.file


def obtain(published: Published, *, track: Track) -> Path:
    """Path of a published file on this machine, downloaded and verified if need be.

    A download that broke off goes on where it stopped. Where nobody states a hash, the first download's sha256 is
    written to ``<file>.sha256``, and this file and later downloads are held to it.
    """
    path = location(published)
    record = path.with_name(f"{path.name}.sha256")
    expected = published.hash
    if expected is None and record.is_file():
        expected = f"sha256:{record.read_text(encoding='utf-8').split()[0]}"
    if path.is_file():
        if expected is not None and not has_hash(path, expected):
            raise CheckpointError(
                f"{path} is not {_expected_file(published, expected, record)}; remove it and run again"
            )
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download(published.url, part, track=track)
    except OSError as error:
        reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
        raise CheckpointError(
            f"cannot download {published.url} ({reason}); try again, or put the file at {path}"
        ) from error
    if expected is None:
        record.write_text(f"{file_hash(part)}  {path.name}\n", encoding="utf-8")
    elif not has_hash(part, expected):
        part.unlink()
        what = _expected_file(published, expected, record)
        raise CheckpointError(f"what was downloaded is not {what}, and was deleted; run again")
    part.replace(path)
    return path


def _expected_file(published: Published, expected: str, record: Path) -> str:
    """In words, and where it is known from."""
    known = "" if published.hash else f", as the first download was: delete {record} if that one was wrong"
    return f"the file of {published.url} ({expected}{known})"


def identity(path: Path) -> str:
    """``"<file name>@<first 12 hex of its sha256>"``."""
    _require_file(path)
    return f"{path.name}@{file_hash(path)[:12]}"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Parameters by name, on the CPU; a wrapping ``state_dict`` and a common prefix ``module.`` are taken off.

    Notes
    -----
    No code of the file is run: TorchScript, and zip archives that ``torch.load(weights_only=True)`` refuses, go
    to :func:`emoclim.encoders.torch_archive.read_archive`.
    """
    _require_file(path)
    try:
        content = _read(path)
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path} cannot be read as a checkpoint ({reason}); name or download another") from error
    table = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    entries = table.items() if isinstance(table, Mapping) else ()
    tensors = {name: value for name, value in entries if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no table of named tensors; name a checkpoint")
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def fit(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy tensors into a module, every one of them into its place, and zero in place of denormal numbers."""
    needed = module.state_dict()
    missing = [name for name in needed if name not in tensors]
    unexpected = [name for name in tensors if name not in needed]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in needed.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    if told := "; ".join(f"{len(names)} {fault}: {_some(names)}" for fault, names in faults.items() if names):
        raise CheckpointError(f"{source} does not fit {type(module).__name__} ({told}); name one made for it")
    module.load_state_dict(dict(tensors))
    zero_denormals(module.state_dict().values())


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; name a file that exists")


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:NAMES_SHOWN], *(["..."] if len(names) > NAMES_SHOWN else [])])


def _read(path: Path) -> object:
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":
        return safetensors.torch.load_file(path)
    zipped = head.startswith(b"PK")
    if zipped and is_script(path):
        return read_archive(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of the pickle protocol before it refuses it
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        if zipped:
            return read_archive(path)
        raise pickle.UnpicklingError(
            "neither safetensors nor torch.save of nothing but tensors; where you trust it, save it anew with torch"
        ) from error

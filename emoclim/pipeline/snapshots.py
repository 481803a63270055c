"""Write and read the tensors that a run needs to be resumed. A snapshot is read as it was written, or not at all."""

from pathlib import Path

import safetensors.torch

from emoclim.errors import RunError
from emoclim.files import atomic, require_regular
from emoclim.learning import CHECKSUM, Snapshot, checksum


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Write tensors, whole or not at all."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in snapshot.items()}
    with atomic(path) as partial:
        try:
            safetensors.torch.save_file(tensors, partial, {CHECKSUM: checksum(tensors)})
        except safetensors.SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from error


def read_snapshot(path: Path) -> Snapshot | None:
    """Read what was written, if it is there; what is damaged raises :class:`RunError`."""
    if not path.exists():
        return None
    try:
        require_regular(path)
        with safetensors.safe_open(path, "pt") as file:
            snapshot = {name: file.get_tensor(name) for name in file.keys()}
            if (file.metadata() or {}).get(CHECKSUM) != checksum(snapshot):
                raise ValueError("it is not as it was written")
    except (OSError, safetensors.SafetensorError, LookupError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}); delete it and resume again, without what it kept") from error
    return snapshot

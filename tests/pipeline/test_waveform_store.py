"""Stores of decoded recordings: crops as from the files, shared by runs, and whole whatever dies meanwhile."""

import os
import pickle
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from commands import answer, run
from fakes import TextEncoder
from processes import exit_codes, start
from small_encoder import AUDIO, LENGTH, RATE, differences, make_encoder, make_material, make_net, train
from torch import Tensor

from emoclim.cache.waveforms import open_waveform
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Item
from emoclim.data.media.waveform import read_blocks
from emoclim.encoders.base import AudioEncoder
from emoclim.errors import CacheError, ConfigError, DecodeError
from emoclim.pipeline.training.end_to_end import crops
from emoclim.pipeline.training.end_to_end.crops import StoredCrops, of_waveforms, stored_crops
from emoclim.pipeline.workspace import Workspace

STEP = 1 / 65_536  # half of what 16 bits tell apart


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def encoder_of(rate: int, source_rate: int | None = None, length: int = LENGTH) -> AudioEncoder:
    return AudioEncoder(AUDIO, rate, length, 0.0, make_net, source_rate=source_rate)


def kept(items: list[Item], workspace: Workspace, encoder: AudioEncoder | None = None, workers: int = 0) -> StoredCrops:
    return stored_crops(encoder or make_encoder(), items, workspace, ContentKeys(), workers=workers)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def write(path: Path, samples: Any, rate: int = RATE, subtype: str = "FLOAT") -> Item:
    soundfile.write(path, samples, rate, subtype=subtype)
    return Item(path.name, path)


def noise(seconds: float, rate: int = RATE, peak: float = 0.9, seed: int = 0) -> Any:
    return (peak * np.random.default_rng(seed).uniform(-1, 1, round(seconds * rate))).astype(np.float32)


def recordings(folder: Path, count: int) -> list[Item]:
    return [write(folder / f"{n}.wav", noise(0.5, peak=0.5, seed=n)) for n in range(count)]


def whole(source: StoredCrops, item: Item) -> Tensor:
    with open_waveform(source.files[item.id]) as waveform:
        return waveform[:]


def check_whole(source: StoredCrops, items: list[Item]) -> None:
    for item in items:
        decoded = torch.cat(list(read_blocks(item, RATE)))
        torch.testing.assert_close(whole(source, item), decoded, rtol=0, atol=1.01 * STEP)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the items that are decoded, as it goes."""
    seen: list[str] = []

    def noting(item: Item, *rest: Any, **options: Any) -> Iterator[Tensor]:
        seen.append(item.id)
        return read_blocks(item, *rest, **options)

    monkeypatch.setattr(crops, "read_blocks", noting)
    return seen


@pytest.mark.parametrize(
    ("own", "rate", "source_rate"),
    [(8_000, 8_000, None), (16_000, 8_000, None), (44_100, 8_000, None), (44_100, 16_000, 8_000)],
)
@pytest.mark.parametrize("seconds", [0.5, 0.05])  # and one that is shorter than a segment
def test_a_crop_is_that_of_the_file(
    tmp_path: Path, workspace: Workspace, own: int, rate: int, source_rate: int | None, seconds: float
) -> None:
    item = write(tmp_path / "a.wav", np.stack([noise(seconds, own), noise(seconds, own, seed=1)], axis=1), own)
    encoder = encoder_of(rate, source_rate)
    source = kept([item], workspace, encoder)
    rounding = STEP * (1 if own == rate else 1.5)  # an excerpt that is resampled alone differs by 1e-6 or so
    for seed in range(5):
        crop = source(item, draw(seed))
        torch.testing.assert_close(crop, encoder.crop(item, draw(seed)), rtol=0, atol=rounding)
        assert crop.dtype == torch.float32
        assert crop.shape == (LENGTH,)


@pytest.mark.parametrize(("peak", "subtype"), [(32_767 / 32_768, "PCM_16"), (1.0, "FLOAT"), (90.0, "FLOAT")])
@pytest.mark.parametrize("at", [0, 35_000])  # in the first block, and in the second one
def test_what_16_bits_do_not_hold_is_kept_as_floats(
    tmp_path: Path, workspace: Workspace, peak: float, subtype: str, at: int
) -> None:
    samples = np.round(noise(40, 1_000) * 32_768) / 32_768
    samples[at], samples[at + 1] = peak, -1.0
    item = write(tmp_path / "a.wav", samples, 1_000)
    source = kept([item], workspace, encoder_of(1_000))
    assert soundfile.info(source.files[item.id]).subtype == subtype
    assert torch.equal(whole(source, item), torch.from_numpy(samples).float())


def test_content_part_and_rate_tell_what_is_decoded(tmp_path: Path, workspace: Workspace, decoded: list[str]) -> None:
    items = recordings(tmp_path, 2)
    shutil.copy(tmp_path / "0.wav", tmp_path / "copy.wav")
    copy, part = Item("copy", tmp_path / "copy.wav"), Item("part", tmp_path / "0.wav", start=0.1)
    first = kept([*items, copy, part], workspace)
    check_whole(first, [*items, copy, part])
    assert first.held.recordings == len(decoded) == 3
    again = kept(items, workspace, encoder_of(RATE, length=700))
    assert (again.path, again(items[0], draw()).shape) == (first.path, (700,))
    others = [kept(items, workspace, encoder_of(*rates)).path for rates in ((16_000, None), (RATE, 16_000))]
    assert len({first.path, *others}) == 3
    assert len(decoded) == 7
    write(tmp_path / "1.wav", noise(0.6, seed=5))
    check_whole(kept(items, workspace), items)
    assert decoded[7:] == ["1.wav"]


def test_what_cannot_be_decoded_has_its_reason_and_is_tried_again(tmp_path: Path, workspace: Workspace) -> None:
    items = [*recordings(tmp_path, 3), Item("gone", tmp_path / "gone.wav")]
    content = (tmp_path / "1.wav").read_bytes()
    (tmp_path / "1.wav").write_bytes(content[: len(content) // 2])
    source = kept(items, workspace)
    assert source.reasons.keys() == {"1.wav", "gone"}
    for item, reason in ((items[1], "cut short"), (items[3], "missing")):
        with pytest.raises(DecodeError, match=reason):
            source(item, draw())
    assert source.told().startswith("decoded waveforms: 2 recordings, 16.2 kB in ")
    assert source.told().endswith("; 2 of this run cannot be used")
    (tmp_path / "1.wav").write_bytes(content)
    assert kept(items[:3], workspace).reasons == {}
    with pytest.raises(ConfigError, match="takes no waveforms to be decoded; train it without --store"):
        of_waveforms({"text": TextEncoder()}, "to be decoded; train it without --store")


def test_a_training_hears_the_same_whoever_decodes(tmp_path: Path) -> None:
    """Files of 16 bits are kept as they are; of others, training amplifies the rounding without bounds."""
    material = make_material(tmp_path)
    for part in material.recordings.values():
        for item in part.items:
            write(tmp_path / f"{item.id}.wav", 0.5 * soundfile.read(tmp_path / f"{item.id}.wav")[0], subtype="PCM_16")
    items = [item for part in material.recordings.values() for item in part.items]
    sources = [kept(items, Workspace(tmp_path / str(n)), workers=n) for n in (0, 2)]
    files = train(material)
    for source, workers in zip(sources, (2, 0), strict=True):
        assert differences(files, train(material, source=source, workers=workers)) == []
    assert torch.equal(pickle.loads(pickle.dumps(sources[0]))(items[0], draw()), sources[1](items[0], draw()))


def fill(items: list[Item], workspace: Workspace, dies_at: int) -> None:
    """Fill a store, and be killed once there are so many recordings."""
    replaced = Path.replace

    def dying(partial: Path, path: Path) -> Path:
        if path.suffix == ".wav" and len(list(path.parent.glob("*.wav"))) == dies_at:
            signal.raise_signal(signal.SIGKILL)
        return replaced(partial, path)

    Path.replace = dying
    kept(items, workspace)


def test_killed_it_goes_on_and_several_may_fill_it_at_once(
    tmp_path: Path, workspace: Workspace, decoded: list[str]
) -> None:
    items = recordings(tmp_path, 4)
    assert exit_codes(start(fill, items, workspace, 2)) == [-9]
    (store,) = workspace.caches.glob("*.waveforms")
    first = {path: path.stat().st_mtime_ns for path in store.glob("*.wav")}
    assert exit_codes(*(start(fill, items, workspace, 9) for _ in range(2))) == [0, 0]
    check_whole(source := kept(items, workspace), items)
    assert (decoded, source.held.recordings, len(first)) == ([], 4, 2)
    assert first == {path: path.stat().st_mtime_ns for path in first}
    (torn,) = store.glob(".*")
    os.utime(torn, (0, 0))
    found = answer("cache", "gc", "--yes", "--workspace", workspace.root)["found"]
    assert [one["path"] for one in found] == [str(torn)]
    shown = run("cache", "list", "--workspace", workspace.root).stdout
    assert f"{store.name}: 4 decoded recordings, 32.4 kB, for train-end-to-end --store" in shown


@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk_is_told(tmp_path: Path, workspace: Workspace, workers: int) -> None:
    items = recordings(tmp_path, 3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
    try:
        with pytest.raises(CacheError, match="could not be written"):
            kept(items, workspace, workers=workers)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    check_whole(source := kept(items, workspace), items)
    source.files["0.wav"].write_bytes(b"RIFF")
    with pytest.raises(CacheError, match="delete it"):
        source(items[0], draw())

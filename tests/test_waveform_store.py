"""Stores of decoded recordings: crops as from the files, whatever dies meanwhile, and damage that is noticed."""

import errno
import itertools
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from commands import answer, run
from fakes import TextEncoder
from small_encoder import (
    AUDIO,
    CPU,
    LENGTH,
    QUICK,
    RATE,
    Material,
    differences,
    make_encoder,
    make_material,
    make_net,
    train,
)
from torch import Tensor

from emoclim.cache import waveform_writer
from emoclim.cache.lines import to_line
from emoclim.cache.waveform_writer import WaveformWriter
from emoclim.cache.waveforms import BLOCK, LEDGER, SAMPLES, read_waveforms
from emoclim.crops import CropLoader
from emoclim.data.audio import read_blocks
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Item
from emoclim.encoders.base import AudioEncoder
from emoclim.errors import CacheError, CacheMismatch, DecodeError, EncoderError
from emoclim.pipeline import waveforms
from emoclim.pipeline.waveforms import StoredCrops, stored_crops
from emoclim.pipeline.workspace import Workspace
from emoclim.sampling import Batch

STEP = 1 / 65_536  # half of what 16 bits tell apart


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return make_material(tmp_path_factory.mktemp("tones"))


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


def recordings(folder: Path, count: int, seconds: float = 0.5) -> list[Item]:
    return [write(folder / f"{n}.wav", noise(seconds, peak=0.5, seed=n)) for n in range(count)]


def decoded(item: Item, rate: int = RATE) -> Tensor:
    return torch.cat(list(read_blocks(item, rate)))


# What is stored


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


def test_files_of_16_bits_are_kept_as_they_are(tmp_path: Path, workspace: Workspace) -> None:
    full = np.array([-32_768, 32_767, 0, 1, -1], np.int16)
    item = write(tmp_path / "a.wav", np.tile(full, 1000), subtype="PCM_16")
    source, encoder = kept([item], workspace), make_encoder()
    assert torch.equal(source(item, draw()), encoder.crop(item, draw()))
    assert source.waveforms[item.id].entry.scale == 1.0


@pytest.mark.parametrize("peak", [1.0, 3.7, 900.0])
@pytest.mark.parametrize("at", [0, 35_000])  # in the first block, and in the second one
def test_what_goes_beyond_full_scale_is_not_clipped(tmp_path: Path, workspace: Workspace, peak: float, at: int) -> None:
    samples = noise(40, 1_000, 0.5)
    samples[at], samples[at + 1] = peak, -peak
    item = write(tmp_path / "a.wav", samples, 1_000)
    source = kept([item], workspace, encoder_of(1_000))
    whole = source.waveforms[item.id][:]
    scale = source.waveforms[item.id].entry.scale
    assert scale == pytest.approx(peak, rel=1e-4)
    torch.testing.assert_close(whole, torch.from_numpy(samples), rtol=0, atol=1.01 * STEP * scale)
    assert float(whole[at]) == pytest.approx(peak, rel=1e-6)


def test_any_part_of_a_long_recording_is_that_of_the_whole(tmp_path: Path, workspace: Workspace) -> None:
    end = 2 * BLOCK + 9
    first, item = write(tmp_path / "a.wav", noise(7 / RATE)), write(tmp_path / "b.wav", noise(end / RATE))
    waveform = kept([first, item], workspace).waveforms[item.id]
    whole = decoded(item)
    assert len(waveform) == len(whole) == end
    for part in ((0, 5), (BLOCK - 1, BLOCK + 1), (BLOCK, 2 * BLOCK), (2 * BLOCK, end), (3, 2 * BLOCK + 1)):
        torch.testing.assert_close(waveform[slice(*part)], whole[slice(*part)], rtol=0, atol=1.01 * STEP)


def test_parts_of_a_file_are_recordings_of_their_own(tmp_path: Path, workspace: Workspace) -> None:
    path = write(tmp_path / "a.wav", noise(1.0)).path
    parts = [Item("whole", path), Item("early", path, start=0.1, duration=0.3), Item("late", path, start=0.5)]
    source = kept(parts, workspace)
    for item in parts:
        torch.testing.assert_close(source.waveforms[item.id][:], decoded(item), rtol=0, atol=1.01 * STEP)
    assert source.recordings == 3


# What shares a store, and what is decoded again


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []

    def noting(item: Item, *rest: Any, **options: Any) -> Iterator[Tensor]:
        seen.append(item.id)
        return read_blocks(item, *rest, **options)

    monkeypatch.setattr(waveforms, "read_blocks", noting)
    return seen


def test_encoders_of_one_rate_share_a_store(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = recordings(tmp_path, 3)
    seen = count_decoded(monkeypatch)
    first = kept(items[:2], workspace)
    again = kept(items, workspace, encoder_of(RATE, length=700))
    assert seen == ["0.wav", "1.wav", "2.wav"]
    assert again.path == first.path
    assert again(items[0], draw()).shape == (700,)
    others = [kept(items, workspace, encoder_of(*rates)).path for rates in ((16_000, None), (RATE, 16_000))]
    assert len({first.path, *others}) == 3
    assert len(seen) == 9
    with pytest.raises(CacheMismatch, match=r"was decoded as .*sample_rate=8000.*, not as .*16000"):
        WaveformWriter(first.path, read_waveforms(others[0]).spec)


def test_content_counts_and_not_the_name(tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    items = recordings(tmp_path, 2)
    shutil.copy(tmp_path / "0.wav", tmp_path / "copy.wav")
    seen = count_decoded(monkeypatch)
    source = kept([*items, Item("copy", tmp_path / "copy.wav")], workspace)
    assert (seen, source.recordings) == (["copy", "1.wav"], 2)
    assert torch.equal(source(items[0], draw()), source(Item("copy"), draw()))
    changed = write(tmp_path / "1.wav", noise(0.6, seed=5))
    assert torch.equal(kept(items, workspace).waveforms["1.wav"][:], decoded(changed).mul(32_768).round() / 32_768)
    assert seen == ["copy", "1.wav", "1.wav"]


def test_what_cannot_be_decoded_has_its_reason_and_is_tried_again(tmp_path: Path, workspace: Workspace) -> None:
    items = recordings(tmp_path, 3)
    whole = (tmp_path / "1.wav").read_bytes()
    (tmp_path / "1.wav").write_bytes(whole[: len(whole) // 2])
    source = kept([*items, Item("gone", tmp_path / "gone.wav")], workspace)
    assert source.reasons.keys() == {"1.wav", "gone"}
    with pytest.raises(DecodeError, match="the file is cut short"):
        source(items[1], draw())
    with pytest.raises(DecodeError, match="the file is missing"):
        source(Item("gone"), draw())
    assert source.told().startswith("decoded waveforms: 2 recordings, 16 kB in ")
    assert source.told().endswith("; 2 of this run cannot be used")
    (tmp_path / "1.wav").write_bytes(whole)
    assert kept(items, workspace).reasons == {}
    assert kept([Item("gone", tmp_path / "gone.wav")], Workspace(tmp_path / "empty")).recordings == 0


def test_an_encoder_that_cuts_no_waveforms_is_refused(workspace: Workspace) -> None:
    with pytest.raises(EncoderError, match="'letters' takes no segments of waveforms; train it without --store"):
        stored_crops(TextEncoder(), [], workspace, ContentKeys())


# Training from a store


def test_a_training_hears_the_same_whoever_decodes(material: Material, tmp_path: Path) -> None:
    items = [item for part in material.recordings.values() for item in part.items]
    sources = [kept(items, Workspace(tmp_path / str(n)), workers=n) for n in (0, 2)]
    for item in items:
        assert torch.equal(*(source.waveforms[item.id][:] for source in sources))
    alone = train(material, source=sources[0], workers=0)
    assert differences(alone, train(material, source=sources[1], workers=2)) == []
    assert differences(alone, train(material, source=sources[1], workers=0)) == []
    # Before any update, 16 bits turn unit vectors by some 1e-5, and a loss by that over the temperature. Afterwards the
    # two drift apart by 1e-2 and more in validation: a bias before a normalisation has no gradient but rounding, which
    # Adam scales to whole learning rates; batch statistics take that away again, running ones lag behind.
    first = replace(QUICK, epochs=1, batches_per_epoch=1)
    stored, files = (train(material, first, source=source).history for source in (sources[0], None))
    assert not torch.equal(stored.train_loss, files.train_loss)
    torch.testing.assert_close(stored.train_loss, files.train_loss, rtol=0, atol=1e-3)


def test_a_process_gets_places_and_no_samples(material: Material, workspace: Workspace) -> None:
    items = list(material.recordings["train"].items)
    source = kept(items, workspace)
    crop = source(items[0], draw())
    sent = pickle.dumps(source)
    assert len(sent) < 6_000
    assert torch.equal(pickle.loads(sent)(items[0], draw()), crop)


# Death at any moment


class Killed(BaseException):
    pass


def die_at(point: int, patch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Let the process die in the middle of a change to the disk; tells how many changes there were."""
    counter = itertools.count()
    last = [0]

    def dying(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def change(*words: Any, **options: Any) -> Any:
            last[0] = next(counter)
            if last[0] != point:
                return original(*words, **options)
            if name == "write":
                original(words[0], bytes(words[1])[: len(words[1]) // 2])
            raise Killed

        return change

    for name in ("write", "fsync", "ftruncate", "replace", "mkdir"):
        patch.setattr(os, name, dying(name))
    return lambda: last[0]


@pytest.mark.parametrize("before", [0, 1])  # recordings in a store that is there
def test_killed_at_any_moment_it_claims_what_is_true_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    items = recordings(tmp_path, 4, 0.05)
    expected = {ContentKeys()(item): decoded(item) for item in items}
    monkeypatch.setattr(waveforms, "COMMIT_BYTES", 1_000)  # two recordings to a commit
    claimed = []
    for point in itertools.count():
        workspace = Workspace(tmp_path / str(point))
        if before:
            kept(items[:before], workspace)
        with monkeypatch.context() as patch:
            changes = die_at(point, patch)
            try:
                kept(items, workspace)
            except Killed:
                pass
            else:
                assert changes() < point
                break
        found = [read_waveforms(ledger.parent) for ledger in workspace.caches.glob(f"*.waveforms/{LEDGER}")]
        for store in found:
            for key, waveform in store.waveforms({key: key for key in store.entries}).items():
                torch.testing.assert_close(waveform[:], expected[key], rtol=0, atol=1.01 * STEP)
        claimed.append(sum(len(store.entries) for store in found))
        source = kept(items, workspace)
        assert source.recordings == 4
        assert source.size == (source.path / SAMPLES).stat().st_size == 2 * sum(map(len, expected.values()))
        for item in items:
            torch.testing.assert_close(source.waveforms[item.id][:], decoded(item), rtol=0, atol=1.01 * STEP)
    assert set(claimed) == {before, before + 2, 4}
    assert claimed == sorted(claimed)  # the later it dies, the more is kept


def test_samples_are_on_the_disk_before_a_line_counts_them(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kept(recordings(tmp_path, 1), workspace).path
    changes: list[tuple[str, int]] = []
    write_at, fsync = waveform_writer.write_at, os.fsync
    monkeypatch.setattr(
        waveform_writer, "write_at", lambda n, *rest: (changes.append(("write", n)), write_at(n, *rest))
    )
    monkeypatch.setattr(os, "fsync", lambda n: (changes.append(("sync", n)), fsync(n)))
    with WaveformWriter(path, read_waveforms(path).spec) as writer:
        for key in "ab":
            writer.append(key, 1.0, [np.arange(5, dtype=np.int16)])
            writer.commit()
    samples, ledger = changes[0][1], changes[-1][1]
    assert samples != ledger
    assert changes == 2 * [("write", samples), ("sync", samples), ("write", ledger), ("sync", ledger)]


def test_a_full_disk_is_told_in_one_sentence(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = recordings(tmp_path, 3)
    kept(items[:1], workspace)
    written = waveform_writer.write_at

    def full(handle: int, offset: int, content: bytes) -> None:
        written(handle, offset, content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(waveform_writer, "write_at", full)
        with pytest.raises(CacheError, match=r"could not be written \(No space left on device\); see that"):
            kept(items, workspace)
    assert kept(items, workspace).recordings == 3


def test_what_will_not_fit_is_not_begun(tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    items = [write(path, noise(1.0)), Item("part", path, start=0.4, duration=9.0), Item("early", path, duration=0.1)]
    broken = Item("broken", tmp_path / "broken.wav")
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    usage = shutil.disk_usage(tmp_path)
    for free, fits in ((2 * 1.7 * RATE + 1, True), (2 * 1.7 * RATE - 1, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=int(free)))
        place = Workspace(workspace.root / str(fits))
        if fits:
            assert kept([*items, broken], place).recordings == 3
            continue
        told = r"4 recordings that are yet to be decoded need some 27.2 kB, and .* has 27.2 kB free; make room there"
        with pytest.raises(CacheError, match=told):
            kept([*items, broken], place)
        assert not place.caches.exists()


def test_one_process_writes(tmp_path: Path, workspace: Workspace) -> None:
    items = recordings(tmp_path, 2)
    path = kept(items[:1], workspace).path
    with WaveformWriter(path, read_waveforms(path).spec):
        assert kept(items[:1], workspace).recordings == 1  # what is there needs no writer
        with pytest.raises(CacheError, match=r"is being written by process \d+"):
            kept(items, workspace)
        (told,) = answer("cache", "list", "--workspace", workspace.root)["waveforms"]
        assert told["writer"].startswith(f"process {os.getpid()} on ")
        assert "nothing is left over" in run("cache", "gc", "--workspace", workspace.root).stdout
    assert kept(items, workspace).recordings == 2


# Damage


class Spoilt(NamedTuple):
    workspace: Workspace
    items: list[Item]
    path: Path


@pytest.fixture
def spoilt(tmp_path: Path, workspace: Workspace) -> Spoilt:
    """A store of three recordings, the middle one of which has a flipped bit in its second block."""
    items = [write(tmp_path / f"{n}.wav", noise(9, seed=n)) for n in range(3)]
    path = kept(items, workspace).path
    with (path / SAMPLES).open("r+b") as file:
        file.seek(2 * (9 * RATE + BLOCK + 50))
        (before,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([before ^ 4]))
    return Spoilt(workspace, items, path)


def test_a_flipped_bit_is_noticed_where_it_is_read(spoilt: Spoilt) -> None:
    source = kept(spoilt.items, spoilt.workspace)
    assert len(source.waveforms["0.wav"][:]) == 9 * RATE
    assert len(source.waveforms["1.wav"][:BLOCK]) == BLOCK
    told = r"damaged: the samples of 1.wav are not what was written; leave .*: emoclim cache verify \S+ --repair$"
    with pytest.raises(CacheError, match=told):
        source.waveforms["1.wav"][BLOCK : BLOCK + 1]
    encoder = encoder_of(RATE, length=9 * RATE)
    source = kept(spoilt.items, spoilt.workspace, encoder)
    batch = Batch({"audio": torch.arange(3)[:, None]}, {"audio": torch.zeros(3, dtype=torch.int64)})
    for workers in (0, 1):
        loader = CropLoader(encoder, spoilt.items, seed=0, workers=workers, device=CPU, source=source)
        with pytest.raises(CacheError, match=told):
            list(loader.fill([batch], "here"))


def test_verify_names_what_is_damaged_and_leaves_it_out(spoilt: Spoilt, monkeypatch: pytest.MonkeyPatch) -> None:
    place = ("--workspace", spoilt.workspace.root)
    key = ContentKeys()(spoilt.items[1])
    found = answer("cache", "verify", spoilt.path.name, *place, code=3)
    assert (found["damaged"], found["recordings"], found["sound"]) == ([key], 3, False)
    assert f"1 recordings are not what was written ({key}); leave them out with" in run(
        "cache", "verify", spoilt.path, *place, code=3
    ).stdout.replace("\n", " ")
    run("cache", "verify", spoilt.path.stem, "--repair", *place, code=3)
    assert read_waveforms(spoilt.path).entries.keys() == {ContentKeys()(spoilt.items[n]) for n in (0, 2)}
    seen = count_decoded(monkeypatch)
    source = kept(spoilt.items, spoilt.workspace)
    assert seen == ["1.wav"]
    torch.testing.assert_close(source.waveforms["1.wav"][:], decoded(spoilt.items[1]), rtol=0, atol=1.01 * STEP)
    assert "is sound: all 3 recordings were read" in run("cache", "verify", spoilt.path, *place).stdout
    assert "leave out --re-encode" in run("cache", "verify", spoilt.path, "--re-encode", 1, *place, code=2).output


def test_a_spoilt_ledger_is_told(spoilt: Spoilt) -> None:
    ledger, samples = spoilt.path / LEDGER, spoilt.path / SAMPLES
    lines = ledger.read_bytes().splitlines(keepends=True)
    other = to_line({"format": "emoclim-waveforms", "version": 2, "spec": {}})
    for content, told in (
        (b"", "it does not begin as one"),
        (b'["0123abcd",{}]\n' + b"".join(lines), "its checksum does not match"),
        (other + lines[1], "it is of version 2, and only 1 can be read"),
        (lines[0] + lines[1] + lines[1], "a line does not follow those before it"),
        (lines[0] + to_line({"items": 3}), "a line is no record of this version"),
    ):
        ledger.write_bytes(content)
        with pytest.raises(CacheError, match=rf"damaged: its ledger cannot be used \({told}\); delete it, and"):
            kept(spoilt.items, spoilt.workspace)
        assert told in run("cache", "list", "--workspace", spoilt.workspace.root).stdout.replace("\n", " ")
        assert told in answer("cache", "verify", spoilt.path, code=3)["problem"]
    ledger.write_bytes(b"".join(lines) + b'["0123abcd",{"first":5,"it')  # a torn line is none
    assert read_waveforms(spoilt.path).entries
    os.truncate(samples, samples.stat().st_size - 1)
    with pytest.raises(CacheError, match="its ledger counts more samples than there are"):
        kept(spoilt.items, spoilt.workspace)


def test_a_spoilt_commit_is_given_up_and_decoded_again(spoilt: Spoilt, caplog: pytest.LogCaptureFixture) -> None:
    ledger = spoilt.path / LEDGER
    content = ledger.read_bytes()
    ledger.write_bytes(content[:-20] + b"x" + content[-19:])
    assert "the last commit of" in answer("cache", "verify", spoilt.path, code=3)["problem"]
    assert kept(spoilt.items, spoilt.workspace).recordings == 3
    assert "cannot be read and is given up" in caplog.text
    assert answer("cache", "verify", spoilt.path)["sound"]


def test_list_and_gc_know_stores(spoilt: Spoilt) -> None:
    place = ("--workspace", spoilt.workspace.root)
    shown = run("cache", "list", *place).stdout
    assert f"{spoilt.path.name}: 3 decoded recordings, 432 kB, for train-end-to-end --store" in shown
    (told,) = answer("cache", "list", *place)["waveforms"]
    assert (told["recordings"], told["bytes"], told["problem"]) == (3, 2 * 3 * 9 * RATE, None)
    (lock := spoilt.path.with_name(f"{spoilt.path.name}.writer")).write_text("{}")
    os.utime(lock, (0, 0))
    assert [Path(one["path"]) for one in answer("cache", "gc", "--yes", *place)["found"]] == [lock]
    assert not lock.exists()
    assert spoilt.path.is_dir()
    assert "there is no cache in" in run("cache", "info", spoilt.path, *place, code=2).output

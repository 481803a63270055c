"""Finding and loading encoders: the settings that all of them share, and which published file is which."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import torch
from precision_state import check_state
from processes import exit_codes, start
from pseudo_weights import pseudo_random
from torch import nn

from emoclim.encoders import Encoder, frozen
from emoclim.encoders.loading import load_encoder, own_settings, published_files
from emoclim.encoders.nets.harmonic_cnn import HarmonicCnn
from emoclim.encoders.nets.musicnn import Musicnn
from emoclim.encoders.nets.short_chunk_cnn import ShortChunkCnn
from emoclim.errors import EncoderError

CPU = torch.device("cpu")
NETS: dict[str, type[Musicnn | HarmonicCnn | ShortChunkCnn]] = {
    "musicnn": Musicnn,
    "harmonic_cnn": HarmonicCnn,
    "short_chunk_cnn": ShortChunkCnn,
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, net in NETS.items():
        torch.save(pseudo_random(net().state_dict()), folder / f"{name}.pt")
    return {name: folder / f"{name}.pt" for name in NETS}


def load(checkpoints: dict[str, Path], name: str, precision: str) -> Encoder:
    return load_encoder(name, checkpoint=checkpoints[name], precision=precision)


def features(encoder: Encoder, batch: torch.Tensor) -> torch.Tensor:
    with frozen(encoder.spec, CPU):
        return encoder.module(batch).float()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_full_and_another_feature(
    checkpoints: dict[str, Path], name: str, precision: str
) -> None:
    full, half = load(checkpoints, name, "fp32"), load(checkpoints, name, precision)
    batch = 0.1 * torch.randn(2, *full.input_shape, generator=torch.Generator().manual_seed(0))
    expected, found = features(full, batch), features(half, batch)
    assert found.isfinite().all()
    assert not torch.equal(found, expected)
    assert torch.cosine_similarity(found, expected).min() > 0.99
    assert half.spec.settings["precision"] == precision
    assert half.spec.digest() != full.spec.digest()


@pytest.mark.parametrize("name", NETS)
def test_spectrograms_are_always_computed_in_full(name: str) -> None:
    net = NETS[name]().eval()
    loud = torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0))  # powers beyond what fp16 holds
    with torch.inference_mode(), torch.autocast("cpu", torch.float16):
        lowered = net.decibels(loud)
    with torch.inference_mode():
        assert torch.equal(lowered, net.decibels(loud))


@pytest.mark.parametrize(
    "setting",
    [
        "torch.set_float32_matmul_precision('medium')",
        "torch.backends.fp32_precision = 'tf32'",
        "torch.backends.cudnn.fp32_precision = 'tf32'; torch.backends.cudnn.deterministic = True",
        "torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True",
    ],
)
def test_full_precision_is_without_tf32_and_leaves_all_settings_as_they_were(setting: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    assert exit_codes(start(check_state, setting, told=told)) == [0], told.read_text()


def test_usual_values_of_shared_settings_change_no_key() -> None:
    usual = load_encoder("colour", precision="fp32", views=0, view_seed=7)
    assert usual.spec == load_encoder("colour").spec
    assert load_encoder("colour", views=2).spec.settings["view_seed"] == 42
    digests = {load_encoder("colour", views=views, view_seed=seed).spec.digest() for views in (2, 3) for seed in (1, 2)}
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("colour", {"precision": "bf16"}, "colour has no network to be run at bf16"),
        ("timbre", {"views": 2}, "timbre takes no views: they are of images"),
        ("colour", {"views": -1}, "from 0 to 1000 views, not -1"),
        ("colour", {"views": 1001}, "from 0 to 1000 views, not 1001"),
        ("colour", {"views": 1, "view_seed": -1}, "view_seed from 0 to 4294967295, not -1"),
        ("colour", {"views": "many"}, "setting views of encoder 'colour' takes a value of type int, not 'many'"),
        ("timbre", {"length": 2**63 - 1}, "length from 32000 to 9600000 samples, not 9223372036854775807"),
        ("timbre", {"overlap": 10**400}, "setting overlap of encoder 'timbre' takes a value of type float, not 1000"),
        ("colour", {"source_rate": 16_000}, "'colour' has no setting source_rate; it takes size, precision, views"),
    ],
)
def test_shared_settings_out_of_place_are_refused(name: str, settings: dict[str, int | str], told: str) -> None:
    with pytest.raises(EncoderError, match=told):
        load_encoder(name, **settings)


def test_an_unknown_precision_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(EncoderError, match="fp32, bf16, fp16, not int8"):
        load(checkpoints, "musicnn", "int8")


def test_published_files_are_listed_by_model() -> None:
    assert published_files("colour") == {}
    assert published_files("musicnn").keys() == {""}
    for name in ("clap", "clip"):
        files = published_files(name)
        assert next(iter(files)) == own_settings(name)["model"]
        assert len({published.url for published in files.values()}) == len(files) >= 5


def test_a_frozen_network_keeps_its_batch_statistics(checkpoints: dict[str, Path]) -> None:
    encoder = load(checkpoints, "musicnn", "fp32")
    norms = [part for part in encoder.module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    before = [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]
    features(encoder, torch.randn(2, *encoder.input_shape, generator=torch.Generator().manual_seed(0)))
    after = [norm.running_mean for norm in norms if norm.running_mean is not None]
    assert len(before) == len(norms) > 5
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_threads_take_turns_at_the_settings_of_the_process() -> None:
    before, entered, go_on = torch.backends.mkldnn.matmul.fp32_precision, Event(), Event()

    def compute(number: int) -> None:
        with frozen(load_encoder("colour").spec, CPU):
            entered.set()
            if number == 0:
                assert not go_on.wait(0.2)  # as the other does not enter before this one is out
            else:
                go_on.set()

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(compute, 0)
        assert entered.wait(60)
        second = threads.submit(compute, 1)
        first.result()
        second.result()
    assert torch.backends.mkldnn.matmul.fp32_precision == before

"""What the networks of the published music taggers keep alike: names, lengths, ranges, settings and files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from pseudo_weights import pseudo_random
from torch import Tensor

from emoclim.encoders import harmonic_cnn, musicnn, short_chunk_cnn
from emoclim.errors import CheckpointError, EncoderError


@dataclass(frozen=True)
class Tagger:
    """A network of the collection, and what is known of it."""

    module: ModuleType
    network: str
    folder: str  # in the collection
    blob: str
    dim: int
    hop: float  # samples
    shortest: int  # samples that it makes a feature of
    names: str  # beginning of a hash of the names and shapes of its parameters


TAGGERS = {
    "harmonic_cnn": Tagger(
        harmonic_cnn,
        *("HarmonicCnn", "hcnn", "8b6c53c41ce3fd5c61cd0aa2f5444435972f8e53", 256, 20_000, 73_472, "e67a264113e99d63"),
    ),
    "short_chunk_cnn": Tagger(
        short_chunk_cnn,
        *("ShortChunkCnn", "short_res", "2566ed85f37150ac6f3dba4f5a39985b5acbf156", 512, 14_762, 257),
        "b113074b603eab8f",
    ),
    "musicnn": Tagger(
        musicnn,
        *("Musicnn", "musicnn", "f456be06bd7409125daae533a4d966292dbfa1bf", 200, 12_000, 257, "6e92002a8a12e593"),
    ),
}


@pytest.fixture(scope="module", params=TAGGERS)
def tagger(request: pytest.FixtureRequest) -> Tagger:
    return TAGGERS[request.param]


@pytest.fixture(scope="module")
def net(tagger: Tagger) -> Any:
    net = tagger.module.untrained()
    net.load_state_dict(pseudo_random(net.state_dict()))
    return net.eval()


@pytest.fixture(scope="module")
def checkpoint(net: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tagger") / "net.pth"
    torch.save(net.state_dict(), path)
    return path


def noise(tagger: Tagger) -> Tensor:
    return 0.1 * torch.randn(1, tagger.module.LENGTH, generator=torch.Generator().manual_seed(0))


def test_parameters_are_named_and_shaped_as_in_the_published_files(tagger: Tagger, net: Any) -> None:
    lines = [f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(net.state_dict().items())]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == tagger.names


def test_silence_and_any_length_from_the_shortest_on_have_features(tagger: Tagger, net: Any) -> None:
    assert (net.decibels(torch.zeros(1, 512)) == -100).all()
    for samples in (tagger.shortest, 80_000, 160_000):
        feature = net(torch.zeros(1, samples))
        assert feature.shape == (1, tagger.dim)
        assert feature.isfinite().all()
    with pytest.raises(RuntimeError):
        net(torch.zeros(1, tagger.shortest - 1))


def test_features_are_not_negative_and_tags_are_probabilities(tagger: Tagger, net: Any) -> None:
    feature = net(noise(tagger))
    tags = net.tags(feature)
    assert (feature >= 0).all()
    assert tags.shape == (1, 50)
    assert ((tags > 0) & (tags < 1)).all()


def test_the_stored_front_end_is_used_and_an_empty_filter_bank_is_made_anew(
    tagger: Tagger, net: Any, tmp_path: Path
) -> None:
    path, state, bank = tmp_path / "net.pth", net.state_dict(), "spec.mel_scale.fb"
    if bank not in state:
        pytest.skip("its filters are learnt")
    for filters, same in [(state[bank] * 2, False), (torch.empty(0), True)]:
        torch.save(state | {bank: filters}, path)
        found = tagger.module.load(checkpoint=path).module
        assert torch.equal(found(noise(tagger)), net(noise(tagger))) is same


def test_segments_overlap_by_three_quarters_or_as_much_as_is_asked(tagger: Tagger, checkpoint: Path) -> None:
    encoder, length = tagger.module.load(checkpoint=checkpoint), tagger.module.LENGTH
    assert encoder.input_shape == (length,)
    assert encoder.hop_seconds == tagger.hop / 16_000
    assert tagger.module.load(checkpoint=checkpoint, overlap=0.0).hop_seconds == length / 16_000
    for overlap in (-0.1, 1.0):
        with pytest.raises(EncoderError, match=f"overlap .*not {overlap}"):
            tagger.module.load(checkpoint=checkpoint, overlap=overlap)


def test_a_file_of_another_network_is_refused_on_first_use(tagger: Tagger, tmp_path: Path) -> None:
    torch.save({"dense2.weight": torch.ones(56, tagger.dim)}, tmp_path / "jamendo.pth")
    encoder = tagger.module.load(checkpoint=tmp_path / "jamendo.pth")
    told = rf"jamendo.pth does not fit {tagger.network} .*dense2.weight \(56, {tagger.dim}\)"
    with pytest.raises(CheckpointError, match=told):
        _ = encoder.module


def test_the_published_file_is_pinned(tagger: Tagger) -> None:
    published = tagger.module.published()
    commit = "36aa13b7205ff156cf4dcab60fd69957da453151"
    assert published.url.endswith(f"/{commit}/models/msd/{tagger.folder}/best_model.pth")
    assert published.hash == f"git-blob:{tagger.blob}"

"""The taggers of the package `musicnn`: against its own graph under TensorFlow, and its front end against librosa."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from pseudo_weights import pseudo_random
from tensorflow_bundle import write_bundle
from torch.nn import functional

from emoclim.encoders import find_encoder, load_encoder, location, obtain, readout_of
from emoclim.encoders.families.musicnn_package import LENGTH
from emoclim.encoders.nets.musicnn_package import ENTRIES, FRONT, LAYERS, Filters, PackageMusicnn
from emoclim.errors import CheckpointError, EncoderError
from emoclim.progress import silent

NAMES = ("musicnn_msd", "musicnn_mtt")


@pytest.fixture(scope="module")
def net() -> PackageMusicnn:
    net = PackageMusicnn()
    net.load_state_dict(pseudo_random(net.state_dict()) | {k: v for k, v in net.state_dict().items() if "spec." in k})
    return net.eval()


@pytest.mark.parametrize("name", NAMES)
def test_the_published_networks_give_what_their_graphs_give(name: str, shared: Path) -> None:
    published = find_encoder(name).published()
    if not location(published).is_file():
        pytest.skip(f"the checkpoint of {name} is not on this machine")
    encoder = load_encoder(name, checkpoint=obtain(published, track=silent))
    module: Any = encoder.module
    with np.load(shared / "golden/musicnn_package.npz") as file:
        given, features, tags = (
            torch.from_numpy(file[key]) for key in ("log_mel", f"{name[-3:].upper()}/pen", f"{name[-3:].upper()}/tags")
        )
    with torch.inference_mode():
        found = module.features(given.transpose(1, 2))
        torch.testing.assert_close(found, features, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(module.tags(found), tags, atol=1e-5, rtol=1e-4)
    read = readout_of(encoder.spec)
    assert read is not None
    torch.testing.assert_close((features @ read.weight.T + read.bias).sigmoid(), tags, atol=1e-4, rtol=0)


def test_the_front_end_is_that_of_the_package(shared: Path, net: PackageMusicnn) -> None:
    """Frames that lie in a segment whole are those of the whole recording, from the second on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        librosa = pytest.importorskip("librosa")
        samples, rate = soundfile.read(sorted(shared.glob("corpus/audio/**/emotify_*.ogg"))[0], dtype="float32")
        mel = librosa.feature.melspectrogram(y=samples, sr=rate, hop_length=256, n_fft=512, n_mels=96)
    assert rate == 16_000
    expected = np.log10(10_000 * mel.astype(np.float16).astype(np.float32) + 1)
    begin = 40 * 256
    found = net.log_mel(torch.from_numpy(samples)[None, begin : begin + LENGTH])[0]
    assert found.shape == (96, 187)
    # one step of float16 is 1e-3 of a power
    torch.testing.assert_close(found, torch.from_numpy(expected[:, 41 : 41 + 187]), atol=5e-4, rtol=0)


def test_loud_input_stays_finite(net: PackageMusicnn) -> None:
    assert net.log_mel(torch.full((1, LENGTH), 1e6)).isfinite().all()
    assert net(torch.full((1, LENGTH), 1e6)).isfinite().all()


@pytest.mark.parametrize("sizes", FRONT)
def test_filters_are_plain_convolutions_a_few_pitches_at_a_time(sizes: tuple[int, int, int]) -> None:
    filters = Filters(*sizes).eval()
    filters.load_state_dict(pseudo_random(filters.state_dict()))
    filters.bn.weight.data[::2] *= -1  # where the least of what is filtered is the highest of what is normalised
    spectrogram = torch.randn(2, 96, 150, generator=torch.Generator().manual_seed(0))
    before, after = (sizes[2] - 1) // 2, sizes[2] // 2
    with torch.no_grad():
        plain = functional.relu(filters.conv(functional.pad(spectrogram, (before, after))[:, None]))
        torch.testing.assert_close(filters(spectrogram), filters.bn(plain).amax(dim=2), atol=2e-5, rtol=0)
    filters.train()
    assert filters(spectrogram).shape == (2, sizes[0], 150)


def test_a_checkpoint_of_tensorflow_goes_into_its_places(tmp_path: Path, net: PackageMusicnn) -> None:
    state = net.state_dict()
    tensors = {"beta1_power": np.float32([0.9])}
    for kind, layers in LAYERS.items():
        for number, layer in enumerate(layers):
            own = f"{kind}_{number}" if number else kind
            entries = ("gamma", "beta", "moving_mean", "moving_variance") if kind[0] == "b" else ("kernel", "bias")
            tensors |= {f"{own}/{entry}": state[f"{layer}.{ENTRIES[entry]}"].numpy().T for entry in entries}
    path = write_bundle(tmp_path, tensors)
    module = load_encoder("musicnn_msd", checkpoint=path, output="tags").module
    given = torch.randn(1, LENGTH, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.no_grad():
        torch.testing.assert_close(module(given), net.tags(net(given)), rtol=0, atol=0)
    del tensors["conv2d_3/bias"]
    with pytest.raises(CheckpointError, match="1 missing: layers.3.conv.bias"):
        load_encoder("musicnn_msd", checkpoint=write_bundle(tmp_path, tensors)).module  # noqa: B018


def test_outputs_have_names_and_widths(tmp_path: Path) -> None:
    (tmp_path / "net.pth").touch()
    for name, more, widths in (
        ("musicnn_mtt", "tags", (200, 50)),
        ("efficientnet_lite0", "classes", (1280, 1000)),
    ):
        made = [load_encoder(name, checkpoint=tmp_path / "net.pth", output=one) for one in ("features", more)]
        assert tuple(encoder.spec.dim for encoder in made) == widths
        with pytest.raises(EncoderError, match=f"outputs features and {more}, not 'words'"):
            load_encoder(name, checkpoint=tmp_path / "net.pth", output="words")

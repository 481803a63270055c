"""EfficientNet-lite0: against features of the published file, and names of parameters in their order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pseudo_weights import pseudo_random

from emoclim.data import Item
from emoclim.encoders import Encoder, efficientnet_lite0, load_encoder, location, obtain, readout_of
from emoclim.errors import CheckpointError
from emoclim.progress import silent


def prepared(encoder: Encoder, path: Path) -> torch.Tensor:
    block = next(encoder.prepare(Item("photo", path)))
    assert isinstance(block, torch.Tensor)
    return block


def test_features_of_photos(shared: Path) -> None:
    published = efficientnet_lite0.published()
    if not location(published).is_file():
        pytest.skip("the published file of EfficientNet-lite0 is not on this machine")
    path = obtain(published, track=silent)
    encoder, classes = (
        load_encoder("efficientnet_lite0", checkpoint=path, output=one) for one in ("features", "classes")
    )
    with np.load(shared / "features/images_efficientnet_lite0.npz") as file:
        ids, values, best = file["ids"][::10], torch.from_numpy(file["values"][::10]), file["top_class"][::10]
    pixels = torch.cat([prepared(encoder, shared / "corpus" / str(one)) for one in ids])
    with torch.inference_mode():
        found, probabilities = encoder.module(pixels), classes.module(pixels)
    assert ((found - values).norm(dim=1) <= 1e-4 * values.norm(dim=1)).all()
    assert (probabilities.argmax(dim=1).numpy() == best).all()
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(len(ids)))
    read = readout_of(encoder.spec)
    assert read is not None
    with pytest.raises(CheckpointError, match="last layer"):
        readout_of(replace(encoder.spec, checkpoint=f"{path.name}@of-another-training"))
    torch.testing.assert_close((found @ read.weight.T + read.bias).softmax(dim=1), probabilities, atol=1e-6, rtol=1e-5)


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    """Parameters under names that mean nothing to the network but stand in its order, as the published ones do."""
    state = pseudo_random(efficientnet_lite0.untrained().state_dict())
    assert len(state) == 296
    return {("_conv_stem.weight" if place == 0 else f"_{place}"): one for place, one in enumerate(state.values())}


def test_parameters_of_other_names_go_in_by_their_order(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(tensors, tmp_path / "net.pth")
    module = load_encoder("efficientnet_lite0", checkpoint=tmp_path / "net.pth").module
    assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), tensors.values(), strict=True))


@pytest.mark.parametrize("fault", ["missing", "unexpected", "of another shape"])
def test_parameters_that_do_not_fit_are_told(tensors: dict[str, torch.Tensor], fault: str, tmp_path: Path) -> None:
    names = list(tensors)
    if fault == "of another shape":
        names[0], names[1] = names[1], names[0]
    changed = {("_conv_stem.weight" if place == 0 else f"_{place}"): tensors[name] for place, name in enumerate(names)}
    if fault == "missing":
        changed.popitem()
    if fault == "unexpected":
        changed["more"] = torch.ones(3)
    torch.save(changed, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=fault):
        load_encoder("efficientnet_lite0", checkpoint=tmp_path / "net.pth").module  # noqa: B018

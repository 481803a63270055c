"""EfficientNet-lite0, as timm builds it: pictures to the values before its classes, or to their probabilities."""

from typing import Any

import timm
import torch
from torch import Tensor, nn


class EfficientNetLite0(nn.Module):
    """Normalised pixels ``(B, 3, 224, 224)`` to features ``(B, 1280)`` or, as output ``classes``, ``(B, 1000)``."""

    def __init__(self, output: str = "features") -> None:
        super().__init__()
        self.network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        self.output = output

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        level = self.network.forward_features(pixels)
        pooled: Tensor = self.network.forward_head(level, pre_logits=True)
        return pooled if self.output == "features" else torch.softmax(self.network.classifier(pooled), dim=1)

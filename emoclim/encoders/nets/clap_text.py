"""Text tower of LAION CLAP: token ids to a vector in the space shared with sound.

The RoBERTa body is of the library `transformers`. Parameters carry the files' own names (``text_branch.*``,
``text_projection.*``).

References
----------
Wu et al., "Large-scale contrastive language-audio pretraining with feature fusion and keyword-to-caption augmentation",
ICASSP 2023.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from emoclim.encoders.nets.sentences import encode_rows

DIM = 512


class ClapText(nn.Module):
    """Token ids to unit vectors."""

    text_branch: Any

    def __init__(self, body: nn.Module, width: int, fill: int) -> None:
        super().__init__()
        self.text_branch = body
        self.text_projection = nn.Sequential(nn.Linear(width, DIM), nn.ReLU(), nn.Linear(DIM, DIM))
        self.fill = fill

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids ``(B, length)``, filled up, to unit vectors ``(B, DIM)``."""
        return encode_rows(self.encode, ids, self.fill)

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode rows of any length, of which `mask` says where they have tokens."""
        pooled = self.text_branch(input_ids=ids, attention_mask=mask.long()).pooler_output
        return functional.normalize(self.text_projection(pooled).float(), dim=-1)

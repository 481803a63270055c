"""Give what the items of a split are compared by, on the grid, without holding it for many items.

Used by evaluation. Invariant: vectors are the same whether outputs are kept or made again.
"""

from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor

from emoclim.config import Average
from emoclim.data import Split
from emoclim.errors import ManifestError, RunError
from emoclim.extraction import trim
from emoclim.learning import Heads, Metric, as_candidates, as_queries, squares_of
from emoclim.metrics import on_grid
from emoclim.modality import Modality

ROWS = 1 << 13  # embedded at once where outputs are not kept


class Outputs:
    """Outputs ``(K, N, E)`` for the items of one modality, by branch, on a device that has float64.

    They are kept, or made again for each row that is asked for.
    """

    def __init__(
        self, test: Split, heads: Heads, modality: Modality, average: Average, device: torch.device, *, kept: bool
    ) -> None:
        self.features, labels = test.features[modality], test.labels[modality]
        if not len(self.features):
            raise ManifestError(f"the split has no {modality} to evaluate; choose another split or give it some items")
        if labels.shape != (len(self),) or not 0 <= int(labels.min()) <= int(labels.max()) < len(test.classes):
            raise ManifestError(
                f"the {modality} labels of the split do not fit; give each of the {len(self)} items a number "
                f"from 0 to {len(test.classes) - 1}"
            )
        self._heads, self._average, self._embedding = heads, average, device
        self.device = torch.device("cpu") if device.type == "mps" else device
        self.kept = self.of(None) if kept else None

    def __len__(self) -> int:
        return len(self.features)

    def of(self, rows: Tensor | None) -> Mapping[str, Tensor]:
        """Make the outputs of rows ``(n,)`` int64, or of all."""
        if rows is not None and (not rows[0] or rows[-1] == len(self) - 1):
            trim()  # of what reading and laying out, or so many blocks, have left in pieces
        features = self.features if rows is None else self.features.select(rows.cpu())
        found = self._heads.outputs(features.to(self._embedding), average=self._average)
        if not all(output.isfinite().all() for output in found.values()):
            raise RunError(f"the {features.spec.modality} head gives embeddings that are not finite; train it again")
        return {name: output.to(self.device) for name, output in found.items()}


class HeadVectors:
    """Vectors ``(N, E)`` of one head of K on the grid, made as they are asked for."""

    def __init__(
        self,
        outputs: Outputs,
        compared_by: Callable[[Mapping[str, Tensor]], tuple[Tensor, Metric]],
        head: int,
        *,
        ask: bool,
    ) -> None:
        self._outputs, self._compared_by, self._head, self._ask = outputs, compared_by, head, ask
        self.device = outputs.device

    def __len__(self) -> int:
        return len(self._outputs)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return the vectors of rows ``(n,)`` int64: ``(n, E)``."""
        vectors, metric = self._of(rows)
        if self._ask:
            return on_grid(as_queries(vectors, metric))
        return on_grid(as_candidates(vectors, metric, self._longest if metric == "l2" else None))

    def _of(self, rows: Tensor) -> tuple[Tensor, Metric]:
        if self._outputs.kept is None:
            vectors, metric = self._compared_by(self._outputs.of(rows))
            return vectors[self._head], metric
        vectors, metric = self._compared
        return vectors[self._head, rows], metric

    @cached_property
    def _compared(self) -> tuple[Tensor, Metric]:
        return self._compared_by(self._outputs.kept or {})

    @cached_property
    def _longest(self) -> Tensor:
        """The greatest square of all; vectors that are compared by it are made twice."""
        every = torch.arange(len(self), device=self.device)
        return torch.stack([squares_of(self._of(rows)[0]).max() for rows in torch.split(every, ROWS)]).max()

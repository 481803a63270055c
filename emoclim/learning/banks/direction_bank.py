"""Map rows of an input by their cosines with given directions, as words give them.

Used by objectives that nothing is trained for; conventions are those of :mod:`emoclim.learning.banks.base`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from emoclim.learning.banks.base import LinearBank, affine, filled, whole_lines

# of columns, along axis 1
FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda columns: torch.softmax(columns, dim=1),
    "sigmoid": torch.sigmoid,
}

LEAST = 1e-6  # spread of outputs that are not all the same


class DirectionBank(LinearBank):
    """K linear maps of rows that are brought to unit length, if need be behind other maps.

    Where the rows of `weight` ``(K, E, T)`` are of unit length, and `bias` ``(K, E)`` is 0, outputs are cosines.
    """

    table: Tensor | None  # (K, T, W), what rows go through before
    read_weight: Tensor | None  # (K, W, D), of the layer that rows go through before that
    read_bias: Tensor | None  # (K, W)

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        table: Tensor | None = None,
        read_weight: Tensor | None = None,
        read_bias: Tensor | None = None,
        function: str = "",
        unit: bool = False,
        scaled: bool = False,
    ) -> None:
        super().__init__(weight, bias)
        if table is not None:
            if table.shape[:2] != (self.n_heads, self.dim):
                raise ValueError(f"a table of {tuple(table.shape)} does not belong to {tuple(weight.shape)} directions")
            self.dim = table.shape[2]
        if read_weight is not None:
            if read_weight.shape[:2] != (self.n_heads, self.dim) or function not in FUNCTIONS:
                raise ValueError(f"a layer of {tuple(read_weight.shape)} and {function!r} does not belong to the table")
            if read_bias is None or read_bias.shape != read_weight.shape[:2]:
                raise ValueError("the layer before a table has a bias of another shape")
            self.dim = read_weight.shape[2]
        self.function, self.unit = function, unit  # `unit`: rows are at unit length before that layer
        self.scaled = scaled  # whether the outputs of each row are brought to mean 0 and spread 1
        self.register_buffer("table", table)
        self.register_buffer("read_weight", read_weight)
        self.register_buffer("read_bias", read_bias)

    @override
    def about(self) -> dict[str, Any]:
        about = {"function": self.function, "unit": self.unit, "scaled": self.scaled}
        return {name: value for name, value in about.items() if value}

    @override
    def hide(self, rows: Tensor, generator: torch.Generator | None, products: torch.dtype | None) -> Tensor:
        columns = super().hide(rows, generator, products)
        if self.read_weight is not None and self.read_bias is not None:
            columns = normalize(columns, dim=1) if self.unit else columns
            n_words = self.read_weight.shape[1]
            whole = whole_lines(n_words)
            weight = filled(self.read_weight, (self.n_heads, whole, self.dim))
            read = affine(weight, filled(self.read_bias, (self.n_heads, whole)), columns, products)
            columns = FUNCTIONS[self.function](read[:, :n_words])
        return normalize(self._tabled(columns), dim=1)

    @override
    def project(self, hidden: Tensor, products: torch.dtype | None) -> Tensor:
        outputs = super().project(hidden, products)
        if not self.scaled:
            return outputs
        centred = outputs - outputs.mean(dim=-1, keepdim=True)
        return centred / centred.square().mean(dim=-1, keepdim=True).sqrt().clamp(min=LEAST)

    def _tabled(self, columns: Tensor) -> Tensor:
        if self.table is None:
            return columns
        whole = whole_lines(self.table.shape[1])
        return torch.bmm(filled(self.table, (self.n_heads, whole, self.table.shape[2])), columns)

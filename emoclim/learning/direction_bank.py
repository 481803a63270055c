"""Map rows of an input by their cosines with given directions, as words give them.

Used by objectives that nothing is trained for; conventions are those of :mod:`emoclim.learning.banks`.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from emoclim.learning.banks import LinearBank, filled, whole_lines


class DirectionBank(LinearBank):
    """K linear maps of rows that are brought to unit length, if need be behind another linear map.

    Where the rows of `weight` ``(K, E, T)`` are of unit length, and `bias` ``(K, E)`` is 0, outputs are cosines.
    """

    table: Tensor | None  # (K, T, D), what rows go through before

    def __init__(self, weight: Tensor, bias: Tensor, table: Tensor | None = None) -> None:
        super().__init__(weight, bias)
        if table is not None:
            if table.shape[:2] != (self.n_heads, self.dim):
                raise ValueError(f"a table of {tuple(table.shape)} does not belong to {tuple(weight.shape)} directions")
            self.dim = table.shape[2]
        self.register_buffer("table", table)

    @override
    def hide(self, rows: Tensor, generator: torch.Generator | None, products: torch.dtype | None) -> Tensor:
        columns = super().hide(rows, generator, products)
        if self.table is not None:
            whole = whole_lines(self.table.shape[1])
            columns = torch.bmm(filled(self.table, (self.n_heads, whole, self.dim)), columns)
        return normalize(columns, dim=1)

"""Any numbers of items, such as ratings, predicted from each modality by itself."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor
from typing_extensions import override

from emoclim import config
from emoclim.data import Split
from emoclim.errors import ConfigError
from emoclim.learning.branches import Branch
from emoclim.learning.objectives.regressing import ScaledRegression


class Regression(ScaledRegression):
    """Each modality is brought to numbers of its items: columns of its manifest, whatever they measure.

    References
    ----------
    A. Aljanaki, M. Soleymani, "A data-driven approach to mid-level perceptual musical feature modeling", ISMIR 2018,
    for ratings of music. The scale, optimiser, batch size, learning rate and weight decay are those of the published
    code of S. Chowdhury, G. Widmer, "On perceived emotion in expressive piano performance", ISMIR 2021.

    Inputs
    ------
    ==============  ==============  ============================================================
    outputs         ``(K, N, E)``   of each modality, not of unit length, one value a column
    numbers         ``(N, E)``      of items, in any scale
    ==============  ==============  ============================================================

    Relations
    ---------
    ``va_regression`` is the same for valence and arousal, which labels may stand for.

    Notes
    -----
    What is learnt runs from -1 to 1 over the training split, column by column; predictions come back in the scale of
    the manifest. With ``head=none`` the features themselves are what is learnt: an encoder that is trained has the
    numbers for values, in the order of the columns.

    Examples
    --------
    >>> import torch
    >>> objective = Regression(("audio",), [Regression.Settings(columns="tempo, loudness")])
    >>> split = Split({}, {}, (), numbers={"audio": torch.tensor([[60.0, -20.0], [120.0, -10.0]])})
    >>> objective.prepare(split, torch.device("cpu"))
    >>> objective.predictions("audio", {"audio": torch.tensor([[[0.0, 1.0]]])})
    tensor([[[ 90., -10.]]])
    """

    class Settings(config.Settings):
        """Of the targets and the heads."""

        columns: str = Field(
            default="valence,arousal", description="Columns of the manifest that are learnt, commas between them"
        )
        head: Literal["mlp", "none"] = Field(
            default="mlp",
            description="What predicts them: a head on features (mlp), or features themselves, of an encoder with one "
            "value for each column (none)",
        )

    needs: ClassVar[frozenset[str]] = frozenset({"numbers"})
    preset: ClassVar[Mapping[str, Any]] = {
        **ScaledRegression.preset,
        "optimiser": "adam",
        "batch_size": 8,
        "learning_rate": 1e-3,
        "weight_decay": 1e-5,
    }

    @property
    @override
    def columns(self) -> tuple[str, ...]:
        names = tuple(name.strip().lower() for name in self.choice("columns").split(","))
        if not all(names) or len(set(names)) < len(names):
            raise ConfigError(f"columns = {self.choice('columns')} is not possible; name each once, as in tempo,mode")
        return names

    @override
    def scale(self, table: Tensor, name: str) -> tuple[Tensor, Tensor]:
        low, high = table.amin(dim=0), table.amax(dim=0)
        return (low + high) / 2, (high - low) / 2

    @override
    def branches(self, split: Split) -> Mapping[str, Branch]:
        if self.choice("head") == "mlp":
            return super().branches(split)
        for modality in self.modalities:
            dim = split.features[modality].spec.dim if modality in split.features else len(self.columns)
            if dim != len(self.columns):
                raise ConfigError(
                    f"head=none takes {modality} features of {len(self.columns)} values, one for each column, not "
                    f"{dim}; name as many columns, or take head=mlp"
                )
        return {modality: Branch(modality, unit=False, bare=True) for modality in self.modalities}

"""What `emoclim cross-validate` is asked for. Imports no torch, for the command makes its options of it."""

from typing import Annotated, ClassVar

from pydantic import Field

from emoclim.config import EvaluateConfig
from emoclim.pipeline.training.config import File, HeadsConfig


class CrossConfig(HeadsConfig):
    """The settings of `emoclim cross-validate`: what is trained in each fold, and how it is measured."""

    NOTED: ClassVar[frozenset[str]] = HeadsConfig.NOTED | {"extra"}

    folds: int | None = Field(
        default=None,
        ge=2,
        description="Number of folds, alike in labels, whose items share no group; default one for each group, within "
        "which its items are then ranked",
    )
    extra: Annotated[tuple[File, ...], Field(strict=False)] = Field(
        default=(),
        description="Manifests whose items train the heads of every fold and are in none, extracted into the caches of "
        "the libraries; default none",
    )
    evaluation: EvaluateConfig = EvaluateConfig(split="all")
    plots: bool = Field(default=True, description="Draw plots and write report.html, too")

    def measured(self, *, ranked: bool) -> EvaluateConfig:
        """Return how all folds are measured; `ranked` says whether anything is ranked, or all is predicted."""
        return self.evaluation.updated(within="group") if self.folds is None and ranked else self.evaluation

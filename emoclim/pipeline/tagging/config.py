"""What `emoclim evaluate --tagging` is asked for. Imports no torch, for the command makes its options of it."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from emoclim.config import MAX_RESAMPLES, RunConfig
from emoclim.learning import TagConfig, TagProtocol

# K. Avramidis et al., ICASSP 2023, section 4.3, where it says so; else its published implementation's
VCMR = TagConfig(
    learning_rate=1e-3, weight_decay=1e-6, epochs=50, hidden_dim=128, dropout=0.3, batchnorm=False, plateau=5
)
On = Literal["embeddings", "features"]
File = Annotated[Path, Field(strict=False)]


class TaggingConfig(TagProtocol, RunConfig):
    """The settings of `emoclim evaluate --tagging`; those with a description are options of it."""

    NOTED: ClassVar[frozenset[str]] = frozenset({"run", "manifest", "tag_groups", "plots"})

    run: str | None = None  # default the newest
    manifest: File | None = Field(
        default=None,
        description="Evaluate tagging instead, with this manifest of music with tags; default, with any of the options "
        "of tagging below, data/tagging.csv",
    )
    on: On = Field(default="embeddings", description="Tagging: what tags are found by")
    split: Literal["val", "test"] = "test"
    seeds: int = Field(default=3, ge=1, description="Tagging: number of tag heads to train, each by a seed")
    fractions: Annotated[tuple[float, ...], Field(strict=False)] = Field(
        default=(1.0,), description="Tagging: shares of the training items to learn from"
    )
    tag_groups: File | None = Field(
        default=None, description="Tagging: TOML file of lines GROUP = [TAGS]; default none"
    )
    drop_untagged: bool = Field(default=False, description="Tagging: leave out music without any tag")
    shuffle: bool = Field(
        default=False, description="Tagging: shuffle the tags first, as a control that learns nothing"
    )
    tag_head: Literal["emo-clim", "vcmr"] = Field(
        default="emo-clim",
        description="Tagging: tag head and its training, of Emo-CLIM, or of VCMR (128 hidden units, dropout .3 in "
        "place of batch normalisation, a rate that falls)",
    )
    head: int | None = None  # number of a candidate; default the one that was chosen
    resamples: int = Field(default=1000, ge=1, le=MAX_RESAMPLES)
    seed: int = Field(default=42, ge=0)  # the first of the seeds
    base: TagConfig = TagConfig()  # of Emo-CLIM's
    plots: bool = True

    @property
    def training(self) -> TagConfig:
        """The settings of the tag head's training."""
        return self.base if self.tag_head == "emo-clim" else VCMR

    def variant(self, manifest: str) -> str:
        """Name the folder: the manifest, and whatever is not by default."""
        parts = {
            "split": self.split,
            "on": self.on,
            "head": f"head-{self.head}",
            "seeds": f"{self.seeds}-seeds",
            "fractions": f"share-{'-'.join(f'{share:g}' for share in sorted(set(self.fractions)))}",
            "aggregate": f"aggregate-{self.aggregate}",
            "windows": f"windows-{self.windows}",
            "keep_by": f"by-{self.keep_by}",
            "drop_untagged": "drop-untagged",
            "tag_groups": f"groups-{self.tag_groups.stem if self.tag_groups else None}",
            "tag_head": f"{self.tag_head}-head",
            "shuffle": "shuffled",
            "resamples": f"{self.resamples}-resamples",
            "seed": f"seed-{self.seed}",
        }
        default = TaggingConfig()
        same = self.updated(fractions=tuple(sorted(set(self.fractions))))
        told = [part for name, part in parts.items() if getattr(same, name) != getattr(default, name)]
        trained = [
            f"{name.replace('_', '-')}-{value}"
            for name, value in self.base.model_dump().items()
            if value != getattr(default.base, name)
        ]
        return "-".join([manifest, *told, *trained])

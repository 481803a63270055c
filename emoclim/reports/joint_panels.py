"""Several joint spaces side by side, as the papers draw them; conventions as in :mod:`emoclim.reports.plots`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from emoclim.modality import MODALITIES, Modality
from emoclim.reports.plots import DPI, TITLE, draw_joint_space, joint_legend, save_figure

PERPLEXITY = 5.0  # of the papers' published code
NOTE_WIDTH = 45  # letters


@dataclass(frozen=True, slots=True)
class JointSpace:
    """The embeddings that one pair of heads makes of a split."""

    title: str
    embeddings: Mapping[Modality, Tensor]  # `(N, E)` by modality, on the CPU
    labels: Mapping[Modality, Tensor]  # `(N,)` int64 by modality, into `classes`
    classes: Sequence[str]
    note: str = ""  # what stands below the panel


def plot_joint_spaces(spaces: Sequence[JointSpace], path: Path, *, seed: int) -> None:
    """Draw joint spaces of the same classes side by side: one colour per emotion, dots for images, crosses for music.

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", extended version, Figure 2. The
    paper does not say how its maps were made; perplexity and distance are those of the published code. See
    :func:`~emoclim.reports.plots.plot_joint_space` for what such a map means.
    """
    figure = Figure(
        figsize=(4.2 * len(spaces) + 1.8, 4.6), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    )
    panels = figure.subplots(1, len(spaces), squeeze=False)[0]
    for axes, space in zip(panels, spaces, strict=True):
        draw_joint_space(axes, space.embeddings, space.labels, len(space.classes), seed=seed, perplexity=PERPLEXITY)
        axes.set_title(space.title, **TITLE)
        axes.set_xlabel(fill(space.note, NOTE_WIDTH))
    kinds = {modality: MODALITIES[modality].name for space in spaces for modality in space.embeddings}
    figure.legend(handles=joint_legend(kinds, spaces[0].classes), loc="outside right upper", frameon=False)
    save_figure(figure, path)

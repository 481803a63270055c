"""Joint spaces in one plane: UMAP that is fitted to one modality, names of tags, colours of several panels."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from emoclim.reports.joint_space import JointSpace, _brought, plot_joint_spaces

pytestmark = pytest.mark.usefixtures("_plain_umap")


def test_what_is_a_plane_already_is_drawn_as_it_is() -> None:
    points = torch.rand(6, 2, dtype=torch.float64)
    assert torch.equal(_brought(points, slice(2, 6), 1), points)


def test_umap_is_fitted_to_one_modality_and_the_rest_brought_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    umap = pytest.importorskip("umap").UMAP
    threads, fit = torch.get_num_threads(), umap.fit_transform

    def on_all_cores(*given: Any) -> Any:
        torch.set_num_threads(threads + 1)  # as numba does when it compiles, which is switched off here
        return fit(*given)

    monkeypatch.setattr(umap, "fit_transform", on_all_cores)
    draw = torch.Generator().manual_seed(1)
    middles = 5 * torch.randn(2, 8, generator=draw).double()
    own = middles.repeat_interleave(12, dim=0) + 0.1 * torch.randn(24, 8, generator=draw).double()
    rest = middles + 0.1 * torch.randn(2, 8, generator=draw).double()
    places = _brought(torch.cat([rest[:1], own, rest[1:]]), slice(1, 25), 1)
    assert torch.isfinite(places).all()
    groups = places[1:13].mean(dim=0), places[13:25].mean(dim=0)
    for place, near, far in ((places[0], *groups), (places[-1], *groups[::-1])):
        assert torch.dist(place, near) < torch.dist(place, far)
    others = _brought(torch.cat([rest[1:], own, rest[1:]]), slice(1, 25), 1)
    assert torch.equal(others[1:25], places[1:25])  # whatever is brought into it
    assert torch.get_num_threads() == threads


def test_panels_of_other_classes_share_a_legend(tmp_path: Path) -> None:
    spaces = [
        JointSpace(
            {"text": torch.rand(4, 2), "audio": torch.rand(4, 2)},
            {"text": torch.tensor([0, 1, 0, 1]), "audio": torch.tensor([1, 0, 1, 0])},
            classes,
            tags=torch.rand(2, 2) if classes[0] == "joy" else None,
            fitted="audio",
        )
        for classes in (("joy", "happy"), ("fear", "happy"))
    ]
    plot_joint_spaces(spaces, tmp_path / "spaces.png", seed=1)
    with Image.open(tmp_path / "spaces.png") as picture:
        assert picture.width > picture.height

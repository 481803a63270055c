"""The short-chunk CNN: against numbers of the reference implementation, and on its own promises."""

from pathlib import Path
from typing import Any

import pytest
import torch
from golden_taggers import CASES, GoldenTagger
from torch.nn import functional

from emoclim.encoders import short_chunk_cnn
from emoclim.encoders.nets.short_chunk_cnn import ShortChunkCnn, StridedResidual


@pytest.fixture(scope="module")
def golden(shared: Path) -> GoldenTagger:
    return GoldenTagger(shared / "golden", "short_res")


@pytest.fixture(scope="module")
def reference_net(golden: GoldenTagger, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = golden.write_checkpoint(ShortChunkCnn(), tmp_path_factory.mktemp("golden") / "best_model.pth")
    return short_chunk_cnn.load(checkpoint=path).module


@pytest.mark.parametrize("case", CASES)
def test_reference_numbers(golden: GoldenTagger, reference_net: Any, case: str) -> None:
    golden.check(reference_net, case, band_step=1)


def test_a_block_whose_residual_is_nothing_is_its_shortcut() -> None:
    block = StridedResidual(2, 3).eval()
    torch.nn.init.zeros_(block.bn_2.weight)
    level = torch.randn(1, 2, 7, 8, generator=torch.Generator().manual_seed(0))
    expected = functional.relu(block.bn_3(functional.conv2d(level, block.conv_3.weight, block.conv_3.bias, 2, 1)))
    assert block(level).shape == (1, 3, 4, 4)
    torch.testing.assert_close(block(level), expected)

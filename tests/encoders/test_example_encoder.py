"""The examples, put beside the encoders, are encoders: found by name, held to the contract, and ready for use."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_cases import CASES, NamedEncoderContract, Subject, make_subject, write_pictures
from example_encoders import EXAMPLES, ROOT, dropped_in
from PIL import Image

import emoclim.encoders
from emoclim.cache import open_cache
from emoclim.config import ExtractConfig
from emoclim.data.content import ContentKeys
from emoclim.encoders.loading import encoder_names, find_encoder, load_encoder
from emoclim.errors import EncoderError
from emoclim.pipeline.extract import extract_features
from emoclim.pipeline.workspace import Workspace


def mean_and_spread(path: Path, size: int) -> list[float]:
    """What palette makes of a picture, cell by cell."""
    square = np.array(Image.open(path).resize((size, size), Image.Resampling.BICUBIC), np.float64) / 255
    step = size // 3
    cells = [
        square[top : top + step, left : left + step, channel]
        for channel in range(3)
        for top in range(0, size, step)
        for left in range(0, size, step)
    ]
    return [cell.mean() for cell in cells] + [math.sqrt(cell.var() + 1e-4) for cell in cells]


@pytest.fixture(scope="class", params=sorted(EXAMPLES))
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    with dropped_in(tmp_path_factory.mktemp("encoders")):
        yield make_subject(request.param, tmp_path_factory.mktemp(request.param))


class TestExamples(NamedEncoderContract):
    pass


def test_examples_are_plain_encoders_and_only_found_while_they_are_there(tmp_path: Path) -> None:
    before = set(encoder_names())
    with dropped_in(tmp_path):
        assert set(encoder_names()) == before | EXAMPLES | {"palette_video"}
        assert {Path(str(find_encoder(name).__file__)).parent for name in EXAMPLES} == {tmp_path}
    assert set(encoder_names()) == before
    assert not EXAMPLES & (before | CASES.keys() | vars(emoclim.encoders).keys())
    with pytest.raises(EncoderError, match="no encoder is called 'palette'"):
        find_encoder("palette")


def test_pictures_are_encoded_with_an_example(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    items = write_pictures(pictures, (30, 40), (50, 20), (9, 9))
    (tmp_path / "encoders").mkdir()
    with dropped_in(tmp_path / "encoders"):
        result = extract_features(
            "image",
            pictures,
            ExtractConfig(encoder="palette", settings={"size": 48}, unlabelled=True, workers=0),
            workspace=Workspace(tmp_path),
            device="cpu",
        )
    assert (result.extraction.encoded, result.extraction.failures) == (3, ())
    with open_cache(result.cache) as cache:
        features = cache.read([ContentKeys()(item) for item in items])
    assert features.spec.name == "palette"
    expected = torch.tensor([mean_and_spread(Path(str(item.path)), 48) for item in items], dtype=torch.float32)
    torch.testing.assert_close(features.values, expected, atol=1e-5, rtol=0)


def test_a_size_that_cannot_be_cut_into_ninths_is_refused(tmp_path: Path) -> None:
    with dropped_in(tmp_path):
        for size in (0, 64):
            with pytest.raises(EncoderError, match=f"multiple of 3, not {size}"):
                load_encoder("palette", size=size)


def test_the_guide_quotes_the_examples() -> None:
    guide = (ROOT / "docs" / "adding_an_encoder.md").read_text(encoding="utf-8")
    sources = [(ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8") for name in sorted(EXAMPLES)]
    quotes = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    assert quotes
    assert all(any(quote in source for source in sources) for quote in quotes)
    for target in re.findall(r"\]\(([^)#]+)\)", guide):
        assert (ROOT / "docs" / target).exists()

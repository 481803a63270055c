"""The example, put beside the data sets, is one: found by name, held to the contract, and ready for use."""

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import answer, run
from dataset_contract import DatasetContract, Subject, miniature_of

import emoclim.data.datasets
from emoclim.data.datasets.loading import dataset_names, find_dataset

ROOT = Path(__file__).parents[2]
EXAMPLE = "artphoto"


@contextmanager
def dropped_in(folder: Path) -> Iterator[None]:
    """A copy of the example in a folder that counts as one of data sets for a while."""
    shutil.copy(ROOT / "examples" / f"{EXAMPLE}.py", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emoclim.data.datasets, "__path__", [*emoclim.data.datasets.__path__, str(folder)])
        try:
            yield
        finally:
            sys.modules.pop(f"emoclim.data.datasets.{EXAMPLE}", None)
            vars(emoclim.data.datasets).pop(EXAMPLE, None)


@pytest.fixture(scope="class")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    with dropped_in(tmp_path_factory.mktemp("datasets")):
        yield Subject(EXAMPLE, miniature_of(EXAMPLE))


class TestExample(DatasetContract):
    pass


def test_the_example_is_a_plain_data_set_and_only_found_while_it_is_there(tmp_path: Path) -> None:
    before = set(dataset_names())
    with dropped_in(tmp_path):
        assert set(dataset_names()) == before | {EXAMPLE}
        assert Path(str(find_dataset(EXAMPLE).__file__)).parent == tmp_path
        assert sum(find_dataset(EXAMPLE).DESCRIPTION.published["the authors"].values()) == 806
        folder = Subject(EXAMPLE, miniature_of(EXAMPLE)).write(tmp_path)
        assert answer("prepare", EXAMPLE, folder, "--workspace", tmp_path)["items"] == 32
    assert set(dataset_names()) == before
    assert "no data set is called 'artphoto'" in run("prepare", EXAMPLE, "--explain", code=2).stderr


def test_the_guide_quotes_what_there_is() -> None:
    guide = (ROOT / "docs" / "adding_a_dataset.md").read_text(encoding="utf-8")
    sources = [
        (ROOT / path).read_text(encoding="utf-8") for path in ("examples/artphoto.py", "tests/miniature_artphoto.py")
    ]
    quotes = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    assert len(quotes) > 1
    assert all(any(quote in source for source in sources) for quote in quotes)
    for target in re.findall(r"\]\(([^)#]+)\)", guide):
        assert (ROOT / "docs" / target).exists()

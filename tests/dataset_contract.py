"""Every promise of a data set, once; it is tested on a miniature: a few files in the official layout.

The miniature of a data set stands in ``miniature_<name>.py`` and is called ``MINIATURE``. It is made of bytes, not of a
folder, so that the contract can write it in any order and spoil it.
"""

import importlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from emoclim.data.datasets.base import Description, Option, Prepared
from emoclim.data.datasets.loading import find_dataset, own_options, read_dataset
from emoclim.data.manifest import SPLITS, Item, Manifest, read_manifest
from emoclim.errors import ConfigError, ManifestError
from emoclim.pipeline.preparation.datasets import explain_dataset
from emoclim.pipeline.preparation.prepare import prepare_dataset
from emoclim.pipeline.preparation.result import PreparedManifest, account_path
from emoclim.pipeline.workspace import Workspace

Files = Mapping[str, bytes]  # by path inside the folder
MISTAKES = ("half a download", "another version", "duplicate ids")


@dataclass(frozen=True)
class Spoilt:
    """The same folder with a mistake in it, and what of it is told: a pattern that the message has somewhere."""

    files: Files
    told: str


@dataclass(frozen=True)
class Miniature:
    """A data set of a few files.

    Attributes
    ----------
    files
        Every file of the official layout, with some content; what is no table need not be decodable.
    labels
        By id, the label or the tags of every item that is to be in the manifest, with the split that is the default.
    left_out
        By id, the kind (``missing``, ``broken``, ``unused``) of everything else that is told.
    spoilt
        The folder with each of the :data:`MISTAKES`; or in words why this one cannot be made.
    given
        What is given as the folder, inside the tree.
    options
        Of the data set.
    """

    files: Files
    labels: Mapping[str, str | tuple[str, ...] | None]
    left_out: Mapping[str, str]
    spoilt: Mapping[str, Spoilt | str]
    given: str = "."
    options: Mapping[str, Option] = field(default_factory=dict)


def miniature_of(name: str) -> Miniature:
    try:
        return importlib.import_module(f"miniature_{name}").MINIATURE
    except ModuleNotFoundError:
        pytest.fail(f"data set {name!r} has no miniature: write tests/miniature_{name}.py")


def write_tree(root: Path, files: Files, order: int = 0) -> Path:
    """Write files below a folder, in an order that follows from a number."""
    names = sorted(files)
    random.Random(order).shuffle(names)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(files[name])
    root.mkdir(exist_ok=True)
    return root


@dataclass(frozen=True)
class Subject:
    """One data set, its miniature, and a folder to work in."""

    name: str
    miniature: Miniature

    @property
    def description(self) -> Description:
        return find_dataset(self.name).DESCRIPTION

    def write(self, root: Path, files: Files | None = None, order: int = 0) -> Path:
        """What is given as the folder."""
        tree = write_tree(root / "official", self.miniature.files if files is None else files, order)
        return tree / self.miniature.given

    def read(self, root: Path) -> Prepared:
        return read_dataset(self.name, self.write(root), self.miniature.options)

    def prepare(self, folder: Path, root: Path, output: str | None = None, **changes: object) -> PreparedManifest:
        return prepare_dataset(
            self.name,
            folder,
            output=root / output if output else None,
            workspace=Workspace(root),
            **{"options": self.miniature.options, **changes},
        )

    def manifest(self, result: PreparedManifest) -> Manifest:
        return read_manifest(result.path, result.modality)


def what_is_said(items: tuple[Item, ...]) -> dict[str, str | tuple[str, ...] | None]:
    return {item.id: item.label if item.label is not None else item.tags or None for item in items}


class DatasetContract:
    """What a derived class tests follows from one fixture of its file, ``subject``."""

    def test_it_says_what_it_is(self, subject: Subject) -> None:
        known, explained = subject.description, explain_dataset(subject.name)
        assert known.about
        assert known.what
        assert known.layouts
        assert all(means for _, means in explained.options.values()), "the description says what each option means"
        own = known.modality is None
        assert all(bool(text) != own for text in (known.licence, known.citation, known.source))
        assert "http" in known.source or own
        assert known.split_sizes.keys() <= known.splits.keys()
        assert all(sizes.keys() <= set(SPLITS) for sizes in known.split_sizes.values())
        assert all(counts.keys() == set(known.labels) for counts in known.published.values())
        assert json.dumps(explained.to_dict())

    def test_its_miniature_is_read_as_it_says(self, subject: Subject, tmp_path: Path) -> None:
        result = subject.prepare(subject.write(tmp_path), tmp_path, max_missing=1.0)
        assert what_is_said(result.items) == dict(subject.miniature.labels)
        assert {one.id: one.kind for one in result.left_out} == dict(subject.miniature.left_out)
        assert all(one.reason for one in result.left_out)

    def test_every_label_is_a_published_one(self, subject: Subject, tmp_path: Path) -> None:
        if known := subject.description.labels:
            items = subject.read(tmp_path).items
            assert {label for item in items for label in (item.label, *item.tags) if label} <= set(known)

    def test_the_manifest_is_read_again(self, subject: Subject, tmp_path: Path) -> None:
        result = subject.prepare(subject.write(tmp_path), tmp_path, max_missing=1.0)
        manifest = subject.manifest(result)
        assert what_is_said(manifest.items) == dict(subject.miniature.labels)
        assert [item.id for item in manifest.items] == sorted(subject.miniature.labels)
        assert [(item.split, item.group) for item in manifest.items] == [(i.split, i.group) for i in result.items]
        for item in manifest.items:
            assert (item.path is None) != (item.text is None)
            assert item.path is None or item.path.is_file()

    def test_a_parquet_manifest_holds_the_same(self, subject: Subject, tmp_path: Path) -> None:
        folder = subject.write(tmp_path)
        results = [
            subject.prepare(folder, tmp_path, f"made/all.{suffix}", max_missing=1.0) for suffix in ("csv", "parquet")
        ]
        assert subject.manifest(results[0]).items == subject.manifest(results[1]).items

    def test_the_same_folder_gives_the_same_bytes(self, subject: Subject, tmp_path: Path) -> None:
        written = set()
        for order in range(3):
            root = tmp_path / str(order)
            result = subject.prepare(subject.write(root, order=order), root, max_missing=1.0)
            written.add((result.path.read_bytes(), account_path(result.path).read_bytes()))
        assert len(written) == 1

    @pytest.mark.parametrize("split", ["70-20-10", "none"])
    def test_groups_and_equal_contents_are_never_parted(self, subject: Subject, tmp_path: Path, split: str) -> None:
        folder = subject.write(tmp_path)
        paths = [
            item.path for item in subject.prepare(folder, tmp_path, split=split, max_missing=1.0).items if item.path
        ]
        twins = [paths[0], paths[-1]] if paths else []
        for path in twins:
            path.write_bytes(b"the same in both")
        result = subject.prepare(folder, tmp_path, split=split, force=True, max_missing=1.0)
        parts: dict[str, set[str | None]] = {}
        for item in result.items:
            parts.setdefault(item.group or item.id, set()).add(item.split)
        assert all(len(found) == 1 for found in parts.values())
        if twins:
            assert len({item.group for item in result.items if item.path in twins}) == 1
            assert any("1 contents occur more than once" in note for note in result.notes)

    def test_every_split_that_it_names_can_be_had(self, subject: Subject, tmp_path: Path) -> None:
        folder = subject.write(tmp_path)
        for number, name in enumerate((subject.description.default_split, *subject.description.splits, "official")):
            if name == "official" and not subject.description.splits:
                continue
            result = subject.prepare(folder, tmp_path, f"made/{number}.csv", split=name, max_missing=1.0)
            assert result.items
            assert {item.split for item in result.items} <= set(SPLITS)
            assert subject.manifest(result).items  # which refuses groups in two splits
        with pytest.raises(ConfigError, match="'nonsense' here; there are: "):
            subject.prepare(folder, tmp_path, split="nonsense")

    def test_an_empty_file_and_a_web_page_are_told(self, subject: Subject, tmp_path: Path) -> None:
        folder = subject.write(tmp_path)
        paths = {item.id: item.path for item in subject.prepare(folder, tmp_path, max_missing=1.0).items if item.path}
        spoilt = dict(zip(sorted(paths), (b"", b"<html>gone</html>"), strict=False))
        for id_, content in spoilt.items():
            paths[id_].write_bytes(content)
        result = subject.prepare(folder, tmp_path, force=True, max_missing=1.0)
        told = {one.id for one in result.left_out if one.kind == "broken"}
        assert told >= spoilt.keys()
        assert not spoilt.keys() & {item.id for item in result.items}

    def test_the_wrong_folder_is_told_with_what_is_in_it(self, subject: Subject, tmp_path: Path) -> None:
        wrong = write_tree(tmp_path / "wrong", {"notes.txt": b"nothing", "photos/readme.md": b"to see"})
        self.told(subject, wrong, tmp_path, r"notes\.txt")
        self.told(subject, tmp_path / "nowhere", tmp_path, "there is no .*nowhere")

    @pytest.mark.parametrize("mistake", MISTAKES)
    def test_mistakes_are_told_in_one_sentence(self, subject: Subject, tmp_path: Path, mistake: str) -> None:
        spoilt = subject.miniature.spoilt[mistake]
        if isinstance(spoilt, Spoilt):
            self.told(subject, subject.write(tmp_path, spoilt.files), tmp_path, spoilt.told)
        else:
            assert len(spoilt.split()) > 3  # a reason

    def told(self, subject: Subject, folder: Path, root: Path, pattern: str) -> None:
        with pytest.raises(ManifestError, match=pattern) as caught:
            subject.prepare(folder, root)
        assert "\n" not in str(caught.value)
        assert not (root / "data").exists()

    def test_an_unknown_option_is_refused(self, subject: Subject, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=f"'{subject.name}' has no option flavour"):
            read_dataset(subject.name, tmp_path, {"flavour": "sweet"})
        assert "flavour" not in own_options(subject.name)

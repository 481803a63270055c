"""Manifests of files on servers that stall, cut what they send, and refuse: each item is whole or told, in a few tries.

Each path of the server names a way in which it misbehaves, for HTTP and for S3.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from file_server import FileServer, picture, server  # noqa: F401 - a fixture
from forked_engine import Forked

from emoclim.config import ExtractConfig
from emoclim.data import Fingerprint, Item
from emoclim.data.items.remote import path_within
from emoclim.data.media import fetching
from emoclim.pipeline import Workspace, extract_features
from emoclim.pipeline.extraction_result import ExtractionResult

COLOUR = ExtractConfig(encoder="colour", workers=3, settings={"size": 64})
TRIES = 4
Expected: TypeAlias = dict[str, tuple[str | None, int]]
WHOLE, LATE = None, "in 4 tries"  # the reason there is; of what came whole, none
# what becomes of it, and by how many requests
EXPECTED = {
    "whole": (WHOLE, 1),
    "silent-1": (WHOLE, 2),
    "silent": (LATE, TRIES),
    "halting-1": (WHOLE, 2),
    "halting": (LATE, TRIES),
    "cut-3": (WHOLE, TRIES),
    "cut": ("cut short", TRIES),
    "chunked": (WHOLE, 1),
    "cutchunked-1": (WHOLE, 2),
    "cutchunked": ("cut short", TRIES),
    "busy-3": (WHOLE, TRIES),
    "busy": ("503", TRIES),
    "gone": ("no file", 1),
    "refused": ("refuses", 1),
    "moved": (WHOLE, 2),
    "toolong": ("cut short", TRIES),
    "slow": (WHOLE, 1),
    "ranges": (WHOLE, 1),
}
OF_HTTP = EXPECTED | {"endless": ("how long", 1), "cutunseen": ("how long", 1), "circle": ("redirected", 10)}
OF_HTTP |= {"choice": ("300", 1), "part": ("206", TRIES), "unreadable": ("as HTTP", TRIES), "packed": (WHOLE, 1)}
OF_S3 = EXPECTED | {"endless": (WHOLE, 1), "cutunseen": ("bytes came", TRIES)}


@pytest.fixture
def impatient(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:  # noqa: F811
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(fetching, "PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(fetching, "SILENCE", 0.4)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "nowhere-1")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    yield server
    fetching._connected.cache_clear()


def write_manifest(path: Path, rows: dict[str, str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["id,path", *(f"{id_},{place}" for id_, place in rows.items())]) + "\n")
    return path


def check(result: ExtractionResult, expected: Expected, server: FileServer) -> None:  # noqa: F811
    reasons = {one.id: one.reason for one in result.extraction.failures}
    for id_, (reason, _) in expected.items():
        if reason is None:
            assert id_ not in reasons, reasons[id_]
            content = server.files[f"{id_}.png"]
            assert result.extraction.keys[id_] == hashlib.blake2b(content, digest_size=16).hexdigest()
        else:
            assert reason in reasons[id_]
            assert "secret" not in reasons[id_]


def asked_by_id(server: FileServer) -> Counter[str]:  # noqa: F811
    counts = Counter[str]()
    for path, count in server.asked.items():
        counts[Path(path).stem] += count
    return counts


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than there are cores: they wait
@pytest.mark.parametrize(("scheme", "expected"), [("http", OF_HTTP), ("s3", OF_S3)])
def test_each_item_is_whole_or_told(scheme: str, expected: Expected, impatient: FileServer, tmp_path: Path) -> None:
    if scheme == "s3":
        pytest.importorskip("s3fs")
    impatient.files = {f"{manner}.png": picture(n) for n, manner in enumerate(expected)} | {"spoilt.png": b"\x89PNG"}
    where = {"http": f"{impatient.address.replace('//', '//me:secret@')}/", "s3": "s3://"}[scheme]
    rows = {manner: f"{where}{manner}/{manner}.png" for manner in expected}
    rows["spoilt"] = f"{where}whole/spoilt.png"
    manifest = write_manifest(tmp_path / "data" / "images.csv", rows)
    workspace = Workspace(tmp_path)
    result = extract_features("image", manifest, config=COLOUR, workspace=workspace)
    n_whole = sum(reason is None for reason, _ in expected.values())
    check(result, expected, impatient)
    assert (result.extraction.encoded, result.n_items) == (n_whole, len(rows))
    asked = asked_by_id(impatient)
    assert asked == {manner: count for manner, (_, count) in expected.items()} | {"spoilt": 1}

    impatient.mended = True  # what failed for now is asked for again, and what is spoilt is not
    again = extract_features("image", manifest, config=COLOUR, workspace=workspace).extraction
    assert (again.encoded, again.reused) == (len(expected) - n_whole, n_whole)
    assert [one.id for one in again.failures] == ["spoilt"]
    assert asked_by_id(impatient) - asked == Counter(id_ for id_, (reason, _) in expected.items() if reason)

    impatient.files["spoilt.png"] = picture(99)
    config = COLOUR.updated(workers=0, retry_failed=True)
    assert extract_features("image", manifest, config=config, workspace=workspace).extraction.encoded == 1
    for name, content in impatient.files.items():
        (tmp_path / name).write_bytes(content)
    here = write_manifest(tmp_path / "here.csv", {name: name for name in impatient.files})
    local = extract_features("image", here, config=config, workspace=workspace).extraction
    assert (local.encoded, local.reused) == (0, len(rows))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("manner", "encoded"), [("gone", 1), ("whole", 2)])
def test_a_copy_is_encoded_where_the_first_address_of_its_content_does_not_give_it_any_more(
    manner: str, encoded: int, workers: int, impatient: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoclim.pipeline.extract.open_engine", lambda *_: Forked(workers=workers))
    impatient.files |= {"a.png": picture(1), "b.png": picture(2)}
    workspace = Workspace(tmp_path)
    first, copy = (f"{impatient.address}/{path}" for path in (f"{manner}/a.png", "whole/b.png"))
    keys, known = workspace.content_keys(), Fingerprint(1, 2, hashlib.blake2b(picture(2), digest_size=16).hexdigest())
    for address in (first, copy):
        keys.learn(Item("", path_within("", address)), known)
    keys.save()
    source = write_manifest(tmp_path / "data" / "images.csv", {"a": first, "b": copy})
    how = {"config": COLOUR.updated(workers=0), "workspace": workspace, "on": "forked" if workers else None}
    done = extract_features("image", source, **how).extraction
    assert (done.encoded, done.reused, done.failures) == (encoded, 2 - encoded, ())
    assert done.keys["b"] == known.digest

"""`emoclim index --approximate`: lists that searches use, that are kept, and whose loss or damage is told."""

from pathlib import Path

import pytest
from commands import answer, run
from commands import finished as finished
from commands import workspace as workspace

from emoclim.index import approximate

pytest.importorskip("faiss")


def test_searches_use_lists_once_they_are_made(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "FEW", 4)
    monkeypatch.setattr(approximate, "AGAIN", 0)
    place = ("--workspace", workspace)
    pictures = workspace / "data" / "images"
    asked = ("search", min(pictures.rglob("*.png")), "--top", 1, *place)
    (exact,) = answer(*asked)
    assert exact["approximate"] is None
    made = answer("index", "--approximate", "--verify", *place)
    assert all(one["lists"] and one["recall"] >= 0.95 for one in made)
    (near,) = answer(*asked)
    assert "estimates" in near["approximate"]
    assert len(near["found"]) == 1
    assert near["approximate"] in " ".join(run(*asked).stdout.split())
    for one in made:
        (lists,) = Path(one["path"]).glob("lists-*.faiss")
        lists.write_bytes(lists.read_bytes()[:100])
    assert answer(*asked)[0]["approximate"] is None
    assert {one["lists"] for one in answer("index", "--exact", *place)} == {False}

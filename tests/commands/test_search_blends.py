"""Search with sums and differences, items of the library, and places of valence and arousal."""

import math
from pathlib import Path

import pytest
from commands import answer, mistake, run
from commands import finished as finished
from commands import workspace as workspace
from wordy_preset import preset as preset
from wordy_preset import wordy as wordy

from emoclim.data import class_coordinates
from emoclim.errors import ManifestError
from emoclim.index import Filters
from emoclim.pipeline import Blend, LibraryItem, Point, Searcher, SearchResult, Workspace, open_searcher

pytestmark = pytest.mark.usefixtures("preset")
WAYS = {"run": None, "words": {"encoder": "noise", "words": "calm,glad,afraid"}}


def searcher(workspace: Path, way: str = "run") -> Searcher:
    return open_searcher(Workspace(workspace), library=str(workspace / "data" / "audio"), words=WAYS[way])


def found(one: Searcher, query: object, **wish: object) -> SearchResult:
    (result,) = one.search([query], top=99, **wish).results  # type: ignore[list-item, arg-type]
    return result


def files(workspace: Path, folder: str, label: str) -> list[Path]:
    return sorted((workspace / "data" / folder / label).iterdir())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mix", [None, {"emotion": 0.6, "content": 0.4}], ids=["emotion", "mixed"])
def test_items_are_ranked_by_the_scores_of_some_queries_less_those_of_others(
    finished: Path, way: str, mix: dict[str, float] | None
) -> None:
    one, (photo, *_), (sad, *_) = (
        searcher(finished, way),
        *(files(finished, *at) for at in (("images", "contentment"), ("audio", "sad"))),
    )
    scary = found(one, photo).found[-1]
    blend = found(one, Blend((photo, sad), (LibraryItem(scary.id),)), mix=mix)
    parts = [found(one, part, mix=mix) for part in (photo, sad, LibraryItem(scary.id))]
    assert {*blend.left_out} == {scary.id, str(sad.relative_to(finished / "data" / "audio"))}
    alone = [{hit.id: hit.score for hit in part.found} for part in parts]
    if mix is None:
        ranked = [hit.id for hit in blend.found]
        sums = {id_: alone[0][id_] + alone[1][id_] - alone[2][id_] for id_ in ranked}
        assert [sums[id_] for id_ in ranked] == pytest.approx(sorted(sums.values(), reverse=True), abs=1e-5)
        ratios = [hit.score / sums[hit.id] for hit in blend.found if abs(sums[hit.id]) > 0.05]
        assert ratios == pytest.approx([ratios[0]] * len(ratios), rel=1e-3)  # the length of the sum of the vectors
    else:
        assert all({*hit.parts} == {*mix} for hit in blend.found)
    assert blend.emotions is None
    assert blend.to_dict()["query"] == {"plus": [str(photo), str(sad)], "minus": [{"id": scary.id}]}


def test_an_item_asks_for_what_its_file_does_and_needs_no_file(workspace: Path) -> None:
    one, (piece, *_) = searcher(workspace), files(workspace, "audio", "sad")
    (piece.parent / f"twin{piece.suffix}").write_bytes(piece.read_bytes())
    by_file = found(one, piece)
    piece.unlink()
    assert {*by_file.left_out} == {f"sad/{piece.name}", f"sad/twin{piece.suffix}"}
    by_id = found(one, LibraryItem(f"sad/{piece.name}"))
    assert by_id.left_out == by_file.left_out
    assert [hit.id for hit in by_id.found] == [hit.id for hit in by_file.found]
    assert [(hit.start, hit.query_start) for hit in by_id.found] == [
        (hit.start, hit.query_start) for hit in by_file.found
    ]
    assert by_id.emotions == pytest.approx(by_file.emotions, abs=1e-5)
    with pytest.raises(ManifestError, match="no item 'none'"):
        one.search([LibraryItem("none")])


def test_a_place_finds_items_by_where_their_emotions_lie(finished: Path, tmp_path: Path) -> None:
    one, at = searcher(finished), (0.5, -0.25)
    near = found(one, Point(*at))
    coordinates = class_coordinates(list(near.found[0].emotions or ()))
    for hit in near.found:
        assert hit.emotions is not None
        place = [sum(share * coordinates.places[name][axis] for name, share in hit.emotions.items()) for axis in (0, 1)]
        assert tuple(hit.parts.values()) == pytest.approx(tuple(place), abs=1e-5)
        assert hit.score == pytest.approx(-math.dist(place, at), abs=1e-5)
    assert [hit.score for hit in near.found] == sorted((hit.score for hit in near.found), reverse=True)
    assert near.placed == coordinates.told
    assert near.candidates == len(near.found)
    some = found(one, Point(*at), only=Filters(emotion="sad"))
    assert {hit.id for hit in some.found} < {hit.id for hit in near.found}
    table = tmp_path / "own.csv"
    table.write_text(
        "word,valence,arousal\n" + "".join(f"{name},.5,{n / 9}\n" for n, name in enumerate(coordinates.places))
    )
    (own,) = answer("search", "--at", "0,-1", "--vad", table, "--workspace", finished, "--top", 99)
    assert {hit["parts"]["valence"] for hit in own["found"]} == {0}
    assert str(table) in own["placed"]


def test_what_makes_no_query_is_told(finished: Path, tmp_path: Path) -> None:
    (photo, *_), words = files(finished, "images", "sadness"), ("search", "--workspace", finished)
    for wrong, told in {
        ("--minus", photo): "nothing that is",
        (photo, "--minus", photo): "cancel each other",
        (photo, "--plus", "rian.wav"): "rian.wav",
        (photo, "--plus", "rain"): "takes no words",
        (photo, "--at", "0,0"): "by itself",
        ("--at", "0.5"): "two numbers",
        ("--at", "-0.5,2"): "from -1 to 1",
        ("--at", "0,0", "--mix", "emotion=.5,content=.5"): "--mix",
        (photo, "--vad", tmp_path): "--vad",
    }.items():
        assert told in mistake(*words, *wrong)
    shown = run(*words, photo, "--minus", files(finished, "audio", "sad")[0]).stdout
    assert " - " in shown

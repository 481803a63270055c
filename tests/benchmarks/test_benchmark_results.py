"""What becomes of a benchmark's numbers: rows and goals, the suite, the page."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from benchmark_scripts import script
from benchmark_scripts import undisturbed as undisturbed

pytestmark = pytest.mark.usefixtures("undisturbed")


@pytest.mark.parametrize(
    ("ours", "theirs", "goal", "met"),
    [
        (1.08, 1.0, "<= 1.08", True),
        (1.09, 1.0, "<= 1.08", False),
        (1.0, 60.0, "<= 1/60", True),
        (1.1, 60.0, "<= 1/60", False),
        (5000.0, 100.0, ">= 5,000 ms", True),
        (4999.0, 1.0, ">= 5,000 ms", False),
        (94.0, 1.0, "93 to 97 ms", True),
        (98.0, None, "93 to 97 ms", False),
        (1e-13, None, "<= 1e-12", True),
        (0.0, None, "<= 0", True),
        (1.5, None, "< 1.5 ms", False),
        (1.6, None, "> 1.5 ms", True),
        (1.0, 2.0, None, None),
    ],
)
def test_a_goal_is_of_the_ratio_or_of_ours(ours: float, theirs: float | None, goal: str | None, met: bool) -> None:
    row = script("record").Row("one", ours, "ms", None if theirs is None else "a peer", theirs, goal)
    assert row.met is met
    assert row.to_dict()["ratio"] == (None if theirs is None else ours / theirs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"goal": "at most 3"}, "cannot be read: 'at most 3'"),
        ({"goal": "<= 3 s"}, "row 'one' in 'ms' has a goal that cannot be read: '<= 3 s'"),
        ({"against": "a peer"}, "needs both, whom it is against and their value, or neither"),
        ({"ours": math.nan}, "holds a value that is not finite"),
    ],
)
def test_rows_that_say_nothing_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        script("record").Row(**{"name": "one", "ours": 1.0, "unit": "ms"} | fields)


def test_the_suite_goes_on_after_a_script_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    suite = script("suite")
    monkeypatch.setattr(suite, "RUNS", (suite.Run("broken", "startup", "--nonsense", "cpu"), *suite.RUNS))
    assert suite.main(["--only", "cache_torture", "--tiny", "--results", str(tmp_path), "--", "--seed", "3"]) == 0
    kept = json.loads((tmp_path / "cache_torture.json").read_text())
    assert kept["options"]["seed"] == 3
    assert [row["ours"] for row in kept["rows"] if row["goal"] == "<= 0"] == [0, 0]
    monkeypatch.setattr(suite, "RUNS", (suite.RUNS[0], suite.Run("good", "startup", "--runs 1", "cpu")))
    assert suite.main(["--results", str(tmp_path)]) == 1
    told = capfd.readouterr().out
    assert "FAILED (2)" in told
    assert told.endswith("FAILED: broken\n")
    assert (tmp_path / "good.json").is_file()
    assert not (tmp_path / "broken.json").exists()


def test_the_page_is_rendered_from_results(tmp_path: Path) -> None:
    row = script("record").Row
    rows = [
        row("reading", 1234.5, "ms", "a | b", 1000.0, "<= 1.5"),
        row("much", 3.0, "", "loop", 900.0),
        row("exact", 2e-13, "", goal="<= 1e-14"),
    ]
    machine = {"cores": 2, "processor": "P", "memory_gb": 8, "system": "Linux", "python": "3.11", "threads": 1}
    made = {
        "title": "Made up",
        "about": "Of ``nothing``.",
        "command": "python benchmarks/made.py",
        "options": {"device": "cuda"},
        "machine": machine | {"gpu": "G", "packages": {"torch": "2"}},
        "rows": [one.to_dict() for one in rows],
        "details": {},
    }
    for name, cores in (("first", 2), ("second", 16)):
        other = made | {"machine": made["machine"] | {"cores": cores}}  # type: ignore[operator]
        (tmp_path / f"{name}.json").write_text(json.dumps(other))
    render = script("render")
    page = render.render(render.read(tmp_path))
    assert page.startswith(render.HEAD)
    assert page.count("## Made up\n\nOf `nothing`.\n") == 1
    details = "[details](../benchmarks/results/second.json)"
    assert f"`python benchmarks/made.py` (machine B, G, 1 thread, torch 2; {details}):" in page
    assert "- B: 16 cores (P), 8 GB, Linux, Python 3.11\n" in page
    assert "| reading | 1,230 | ms | a \\| b: 1,000 | 1.23 | ≤ 1.5 | yes |\n" in page
    assert "| much | 3 |  | loop: 900 | 1/300 |  |  |\n" in page
    assert "| exact | 2.0e-13 |  |  |  | ≤ 1e-14 | no |" in page


def test_the_document_is_what_the_results_that_are_kept_render_to() -> None:
    render = script("render")
    results = render.read(render.RESULTS)
    if not results:
        pytest.skip("no result is kept in benchmarks/results yet")
    assert render.PAGE.read_text(encoding="utf-8") == render.render(results)

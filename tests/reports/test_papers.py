"""Tables of papers with own lines in them."""

import pytest
from markdown_it import MarkdownIt

from emoclim.reports.papers import PaperLine, PaperTable, Reproduced, typeset_table
from emoclim.reports.tables import Estimate

METRICS = [("P@1", "image_text P@1", "there"), ("MRR", "image_text MRR", "there"), ("P@1", "text_image P@1", "back")]
LINES = [
    PaperLine("theirs", ("big",), ("61.0", "68 ± 3", "50")),
    PaperLine("remade", ("small",), ("1", "2", "3"), Reproduced("miniature: all", {"image_text P@1": Estimate(0.5)})),
    PaperLine("further", ("",), (), Reproduced("", {"text_image P@1": Estimate(0.25, 0.2, 0.3)})),
    PaperLine("lost", ("",), ("4", "5", "6"), Reproduced("not made")),
]
TABLE = PaperTable("Table", ("method", "size"), METRICS, LINES)


def test_own_lines_stand_below_the_papers_to_the_letter() -> None:
    assert TABLE.rows == [
        ("method", "size", "there P@1", "there MRR", "back P@1"),
        ("theirs", "big", "61.0", "68 ± 3", "50"),
        ("remade", "small", "1", "2", "3"),
        ("own (miniature: all)", "", "50.00", "–", "–"),
        ("own: further", "", "–", "–", "25.00"),
        ("95 % interval", "", "", "", "20.0–30.0"),
        ("lost", "", "4", "5", "6"),
        ("own (not made)", "", "–", "–", "–"),
    ]


def test_a_terminal_shows_a_row_for_each_heading() -> None:
    rows = TABLE.rows_by_group()
    assert rows[0] == ("method", "own is", "", "P@1 paper", "P@1 own", "MRR paper", "MRR own")
    assert rows[1] == ("remade", "miniature", "there", "1", "50.00", "2", "–")
    assert rows[2] == ("", "", "back", "3", "–", "–", "–")
    assert len({len(row) for row in rows}) == 1
    assert "theirs" not in {row[0] for row in rows}


def test_plain_values_have_what_was_made_alone() -> None:
    lines = {line["title"]: line for line in TABLE.to_dict()["lines"]}
    assert lines["theirs"]["own"] == {}
    assert lines["theirs"]["mark"] is None
    assert lines["remade"]["own"] == {"there P@1": {"value": 0.5, "low": None, "high": None}}
    assert lines["further"]["paper"] == {}


def test_counts_are_shown_as_they_are() -> None:
    line = PaperLine("panel", (), ("1,736",), Reproduced("mine", {"image items": Estimate(1200)}))
    assert PaperTable("Figure", ("panel",), [("images", "image items", "")], [line]).rows[-1] == ("own (mine)", "1,200")


HOSTILE = (
    "a | b",
    "x\ny",
    "`code`",
    "<script>alert(1)</script>",
    "&lt;",
    "[a](b)",
    "*a* ~~b~~",
    "\\|",
    "a\\",
    "# a",
    "_a_",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_of_markdown_stays_one_cell_of_plain_text(text: str) -> None:
    table = typeset_table([("a", text), (text, "1"), ("c", "2")], text, text, "markdown")
    tokens = MarkdownIt("commonmark").enable("table").parse(table)
    shown = [token.children or [] for token in tokens if token.type == "inline"]
    plain = " ".join(text.split())
    assert ["".join(part.content for part in parts) for parts in shown[2:]] == ["a", plain, plain, "1", "c", "2"]
    kinds = {part.type for parts in shown[2:] for part in parts}
    assert kinds <= {"text", "text_special"}
    assert not [token for token in tokens if token.type in ("html_block", "html_inline", "code_block")]

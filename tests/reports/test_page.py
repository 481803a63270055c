"""The page of an evaluation: whole by itself, with pictures and music that a browser can show and play."""

import base64
import re
import sys
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import answer, run
from commands import finished as finished
from commands import workspace as workspace
from PIL import Image

from emoclim.data.manifest import Item
from emoclim.data.media.previews import excerpt, thumbnail
from emoclim.errors import DecodeError
from emoclim.pipeline.evaluation import page
from emoclim.pipeline.evaluation.page import preview
from emoclim.reports.page import Media, Page, render_page

LOADING = {"src", "href", "srcset", "poster", "data", "action"}


class Seen(HTMLParser):
    """What a page loads, and the tags that it opens and closes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.open: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.urls += [value or "" for name, value in attributes if name in LOADING]
        self.tags.append(tag)
        if tag not in {"meta", "link", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def make_page(**changes: object) -> Page:
    given = {
        "title": "a <b>title</b>",
        "lines": ["one line"],
        "warnings": ["beware of <script>alert(1)</script>"],
        "tables": [
            ("Scores", [("direction", "P@1"), ("image → music", "50.0"), ("random order", "16.7")], "a note"),
        ],
        "published": [("A paper's table", [("direction", "P@1"), ("image → music", "60.0")], "")],
        "pictures": [("A picture", b"\x89PNG", "what it shows")],
        "examples": [
            (
                "The best",
                [
                    [
                        Media("a & b.jpg", "image: sad", "image/jpeg", b"jpeg"),
                        Media(
                            "x.flac", "music: sad", "audio/mpeg", b"mp3", True, [("joy & co", 0.25), ("fear", -0.125)]
                        ),
                        Media("y.flac", "music: happy; cannot be shown", "audio/mpeg", None, relevant=False),
                    ]
                ],
            )
        ],
        "provenance": '{"seed": 1}',
    }
    return Page(**(given | changes))


def test_everything_is_there_and_nothing_is_markup() -> None:
    text = render_page(make_page())
    assert "a &lt;b&gt;title&lt;/b&gt;" in text
    assert "<script" not in text
    seen = Seen(text)
    assert not seen.open
    assert seen.tags.count("audio") == 1  # what has no file is told, not played
    assert seen.tags.count("img") == 2
    for told in (
        "one line",
        "image → music",
        "a note",
        "cannot be shown",
        "✓ relevant",
        "✗ not relevant",
        "a &amp; b.jpg",
        "joy &amp; co",
        "+0.250",
        "width: 100%",
        'class="less" style="width: 50%"',
    ):
        assert told in text
    assert render_page(make_page()) == text


def test_looking_and_listening_come_first_and_papers_last() -> None:
    text = render_page(make_page())
    shown = ("one line", "beware of", "x.flac", "Scores", "what it shows", "A paper&#39;s table", "&#34;seed&#34;")
    places = [text.index(part) for part in shown]
    assert places == sorted(places)
    parts = {"examples": "#examples", "numbers": "#numbers", "published": "#published"}
    assert all(f'id="{part}"' in text and f'href="{link}"' in text for part, link in parts.items())
    assert "#published" not in render_page(make_page(published=[]))


def test_a_page_of_numbers_alone() -> None:
    seen = Seen(render_page(make_page(pictures=[], examples=[], warnings=[], tables=[], published=[])))
    assert "img" not in seen.tags
    assert "table" not in seen.tags


def test_the_page_of_an_evaluation_needs_nothing_else(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "SECONDS", 8.0)  # as users have it
    run("evaluate", "--workspace", workspace)
    folder = workspace / "runs" / "001-colour-timbre" / "evaluation" / "test"
    text = (folder / "report.html").read_text(encoding="utf-8")
    seen = Seen(text)
    assert not seen.open
    assert all(url.startswith(("data:", "#")) for url in seen.urls)
    assert not re.search(r"https?://|url\(|@import", text)
    kinds = [url[5:].partition(";")[0] for url in seen.urls]
    assert kinds.count("image/png") == 3
    assert kinds.count("audio/mpeg") == kinds.count("image/jpeg") == 6 + 6 * 3
    for url in seen.urls:
        content = base64.b64decode(url.partition(",")[2])
        if url.startswith("data:audio/mpeg"):
            samples, rate = soundfile.read(BytesIO(content))
            assert (samples.ndim, rate) == (1, 32_000)
            assert 4.9 < len(samples) / rate <= 8.1
            assert np.abs(samples).max() > 0.01
        elif url.startswith("data:image/jpeg"):
            assert max(Image.open(BytesIO(content)).size) <= 320


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    for modality in ("image", "audio"):
        content, told = preview(modality, Item("a", tmp_path / "gone.flac"), 0.0)
        assert content is None
        assert told.startswith("cannot be shown: ")


def test_a_picture_that_needs_a_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "p.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    content, told = preview("image", Item("a", tmp_path / "p.heic"), 0.0)
    assert content is None
    assert told.endswith("pip install 'emoclim[media]'")


def test_other_numbers_are_never_overwritten(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = answer("evaluate", "--workspace", workspace, "--no-plots")
    again = answer("evaluate", "--workspace", workspace, "--no-plots")
    assert again == first
    folder = workspace / "runs" / "001-colour-timbre" / "evaluation"
    assert [path.name for path in folder.iterdir()] == ["test"]
    answer("evaluate", "--workspace", workspace, "--no-plots", "--average", "features", "--k", "3", "--min-seconds", 2)
    assert {path.name for path in folder.iterdir()} == {"test", "test-features-2s-k-3"}
    table = workspace / "data" / "images.csv"
    table.write_text(table.read_text().replace(",val", ",test", 1))
    answer("evaluate", "--workspace", workspace, "--no-plots")
    assert {path.name for path in folder.iterdir()} == {"test", "test.1", "test-features-2s-k-3"}
    assert "held other numbers, which are in" in caplog.text


def test_the_papers_tables_have_the_result_in_them(finished: Path) -> None:
    markdown = run("evaluate", "--workspace", finished, "--no-plots", "--markdown").stdout
    report = answer("evaluate", "--workspace", finished, "--no-plots")["directions"]
    assert "| CLAP (frozen)" in markdown
    assert "68.15" in markdown
    assert "amusement ↔ funny" in markdown
    lines = markdown.splitlines()
    own = next(line for line in lines if line.startswith("| own: colour + timbre, test"))
    assert lines[lines.index(own) + 1].startswith("| 95 % interval")
    directions = ("image_audio", "audio_image", "image_image", "audio_audio")
    values = [100 * report[name]["metrics"][metric] for name in directions for metric in ("P@1", "P@5", "MRR")]
    assert [float(cell) for cell in own.split("|")[2:-1]] == pytest.approx(values, abs=0.005)
    latex = run("evaluate", "--workspace", finished, "--no-plots", "--latex").stdout
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 3
    assert latex.count(r"\caption{emo\_clim, Table ") == 3
    assert "not comparable" in latex
    assert not set(latex) & set("→↔±–")
    assert "give one of them" in run("evaluate", "--workspace", finished, "--latex", "--markdown", code=2).stderr


def test_what_is_left_out_is_told_everywhere(workspace: Path) -> None:
    table = workspace / "data" / "audio.csv"
    gone = next(line for line in table.read_text().splitlines() if line.endswith(",test") or ",test," in line)
    (workspace / "data" / gone.split(",")[0]).unlink()
    report = answer("evaluate", "--workspace", workspace)
    assert any("audio items of split test have no features and are left out" in told for told in report["warnings"])
    text = (workspace / "runs" / "001-colour-timbre" / "evaluation" / "test" / "report.html").read_text()
    assert "have no features and are left out" in text
    assert "Items of one group are no candidates of each other within their modality." in text
    assert "queries have no relevant candidate" in text
    told = run("evaluate", "--min-seconds", 99, "--workspace", workspace, code=2).stderr
    assert "split test has no audio of 99 s or more; lower --min-seconds" in told


def test_a_page_never_stands_beside_other_numbers(workspace: Path) -> None:
    run("evaluate", "--workspace", workspace)
    folder = workspace / "runs" / "001-colour-timbre" / "evaluation"
    (folder / "test" / "report.json").write_text("{")
    run("evaluate", "--workspace", workspace, "--no-plots")
    assert {path.name for path in (folder / "test").iterdir()} == {"report.json", "queries.parquet"}
    assert (folder / "test.1" / "report.html").is_file()


def test_measures_may_be_chosen(workspace: Path) -> None:
    report = answer("evaluate", "--workspace", workspace, "--measures", "MRR", "--k", "5")
    assert list(report["directions"]["image_audio"]["metrics"]) == ["P@5", "MRR"]
    assert (workspace / "runs" / "001-colour-timbre" / "evaluation" / "test-k-5-MRR" / "report.html").is_file()
    assert "'MRX' is not possible" in run("evaluate", "--workspace", workspace, "--measures", "MRX", code=2).stderr


def test_options_of_retrieval_are_not_swallowed_by_tags(finished: Path) -> None:
    told = run("evaluate", "--workspace", finished, "--tagging", "tags.csv", "--k", "3", code=2).stderr
    assert "--k would have no effect" in told


def test_an_excerpt_is_the_part_that_was_asked_for(tmp_path: Path) -> None:
    rate = 32_000
    wave = np.concatenate([np.zeros(2 * rate), np.sin(np.arange(2 * rate) / 8), np.zeros(2 * rate)])
    soundfile.write(tmp_path / "a.wav", 0.9 * wave, rate)
    item = Item("a", tmp_path / "a.wav", start=1.0, duration=4.0)
    samples, _ = soundfile.read(BytesIO(excerpt(item, 1.0, 8.0)))
    assert len(samples) / rate == pytest.approx(3, abs=0.1)
    assert np.abs(samples[: rate * 18 // 10]).mean() > 0.4
    assert np.abs(samples[rate * 22 // 10 :]).max() < 0.05
    with pytest.raises(DecodeError):
        excerpt(item, 40.0, 8.0)


def test_a_thumbnail_keeps_the_shape(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 400, 3), 90, np.uint8)).save(tmp_path / "a.png")
    assert Image.open(BytesIO(thumbnail(Item("a", tmp_path / "a.png"), 100))).size == (100, 10)

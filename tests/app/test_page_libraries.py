"""The page in a browser: a folder is opened and scanned anew; words find its pictures, and it is told why they do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wordy_noise
from browsing import browser as browser
from browsing import found, serving, visiting
from few_pictures import pictures as pictures
from few_pictures import write_picture
from wordy_preset import preset as preset
from wordy_preset import wordy as wordy

from emoclim.app import ServiceSettings, create_app, open_page
from emoclim.pipeline import Workspace

pytestmark = pytest.mark.browser
WORDS = {"encoder": "noise", "words": "calm,glad,afraid"}
HOSTILE = "<b onclick=alert(1)>&amp;.png"


@pytest.fixture
def page(browser: Any, preset: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The page of a workspace in which nothing is yet."""
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("emoclim.pipeline.machine.MAX_WORKERS", 0)  # each picture is decoded in a moment
    monkeypatch.setattr("emoclim.learning.objectives.content.word_encoder", lambda _: wordy_noise.load())
    settings = ServiceSettings(port=0)
    opened = open_page(Workspace(tmp_path / "workspace"), [], settings, words=WORDS, device="cpu")
    opened.taken.close()
    with serving(create_app(opened.libraries, settings)) as address, visiting(browser, address) as visit:
        yield visit()


def test_a_folder_is_opened_searched_by_words_and_scanned_again(page: Any, pictures: Path) -> None:
    write_picture(pictures / HOSTILE, 5)
    assert page.locator("#view-libraries").is_visible(), "there is nothing else to begin with"
    page.fill("#path", str(pictures.with_name("gone")))
    page.keyboard.press("Enter")
    page.wait_for_selector(".job .failure")
    assert "gone" in page.locator(".job .failure").inner_text()
    page.fill("#path", str(pictures))
    page.click("#add button")
    page.wait_for_selector("#libraries .panel")
    assert page.locator(".job").first.locator("summary").all_inner_texts() == ["1 problem", "1 file left out"]
    before = int(page.locator("#libraries .quiet").inner_text().split()[0])
    page.click("#tab-search")
    page.fill("#text", "calm")
    page.keyboard.press("Enter")
    titles = found(page, "calm")
    assert sorted(titles) == ["0", "1", "2", HOSTILE.removesuffix(".png")]
    assert page.locator("main b").count() == 0
    page.wait_for_function("() => [...document.querySelectorAll('.card img')].every(one => one.naturalWidth === 8)")
    page.locator(".why summary").first.click()
    reasons = page.locator(".why").first.locator(".bars").last.inner_text()
    assert all(word in reasons for word in ("calm", "glad", "afraid"))
    page.click("#refine summary")
    page.locator("#mix").focus()
    page.keyboard.press("PageDown")
    page.wait_for_function("() => document.querySelector('.nearness').textContent.includes('content ')")
    assert page.locator("#refined").inner_text() == page.locator("#shares").inner_text()
    write_picture(pictures / "new.png", 7)
    page.click("#tab-libraries")
    page.click("text=Scan again")
    page.wait_for_selector("summary:has-text('1 new')")
    page.wait_for_selector(f"#libraries :text('{before + 1} pictures')")

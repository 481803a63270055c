"""The page in a browser: a photo finds music that plays from its passage; hiding, filters, playlists; keys; names."""

import re
import shutil
from pathlib import Path

import pytest
from browsing import Visit, drop, found
from browsing import address as address
from browsing import browser as browser
from browsing import visit as visit
from served import libraries as libraries
from served import served_workspace as served_workspace

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=alert(1)>\u202e<b>.png"
PLAYED = "[...document.querySelectorAll('audio')].map(one => [one.paused, one.currentTime])"


@pytest.fixture
def photo(served_workspace: Path) -> Path:
    return served_workspace / "data" / "images" / "0.png"


def test_a_dropped_photo_finds_five_and_one_plays_from_its_passage(visit: Visit, photo: Path) -> None:
    page = visit()
    drop(page, photo)
    assert len(found(page, photo.name)) == 5
    assert page.locator("audio").count() == 5
    jumps = [float(text.split(":")[1]) for text in page.locator(".player .plain").all_inner_texts()]
    late = max(range(5), key=lambda place: jumps[place])
    assert jumps[late] > 0
    page.locator(".play").nth(late).click()
    page.wait_for_function(f"() => {PLAYED}[{late}][1] > {jumps[late]} + 0.2")
    assert page.locator(".play").nth(late).get_attribute("aria-label").startswith("Pause ")
    page.locator(".play").nth(late - 1).click()
    page.wait_for_function(f"() => {PLAYED}[{late - 1}][0] === false")
    assert [paused for paused, _ in page.evaluate(PLAYED)].count(False) == 1, "two play at once"


def test_a_waveform_shows_the_passage_and_is_sought_in_by_keys(visit: Visit, photo: Path) -> None:
    page = visit()
    drop(page, photo)
    found(page)
    wave = page.locator(".wave").first
    page.wait_for_function("() => Number(document.querySelector('.wave').getAttribute('aria-valuemax')) > 10.9")
    drawn = "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size"
    assert wave.evaluate(drawn) > 10
    wave.focus()
    page.keyboard.press("Home")
    assert wave.get_attribute("aria-valuetext") == "0:00 of 0:11"
    page.keyboard.press("ArrowRight")
    assert wave.get_attribute("aria-valuetext") == "0:05 of 0:11"
    page.keyboard.press("Enter")
    page.wait_for_function(f"() => {PLAYED}[0][1] > 5")


def test_the_threshold_hides_poor_matches_and_tells_how_many(visit: Visit, photo: Path) -> None:
    page = visit()
    drop(page, photo)
    found(page)
    scores = page.locator(".card").evaluate_all("cards => cards.map(card => Number(card.dataset.score))")
    least = (scores[1] + scores[2]) / 2
    page.locator("#threshold").evaluate("(one, value) => { one.step = 'any'; one.value = value; }", least)
    page.locator("#threshold").dispatch_event("input")
    assert page.locator(".card:visible").count() == 2
    assert page.locator("#hiding").inner_text() == "3 of 5 hidden"
    with page.expect_download() as saved:
        page.click("#m3u8")
    lines = Path(saved.value.path()).read_text().splitlines()
    assert saved.value.suggested_filename == "emoclim.m3u8"
    assert len([line for line in lines if line.endswith(".flac")]) == 2
    with page.expect_download() as saved:
        page.click("#csv")
    assert len(Path(saved.value.path()).read_text().splitlines()) == 3


def test_filters_rank_a_part_of_the_library(visit: Visit, photo: Path) -> None:
    page = visit()
    drop(page, photo)
    found(page)
    page.click("#refine summary")
    page.select_option("#top", "50")
    page.wait_for_function("() => document.querySelectorAll('.card').length === 21")
    folder = page.locator("#only-folder option").nth(1).get_attribute("value")
    page.select_option("#only-folder", folder)
    page.wait_for_function("() => document.querySelectorAll('.card').length === 7")
    assert all(folder in text for text in page.locator(".facts").all_inner_texts())
    page.fill("#shortest", "0:20")
    page.locator("#shortest").blur()
    page.wait_for_selector("text=Nothing of this library passes the filters")
    assert page.locator("#refined").inner_text() == f"{folder}, 0:20 to any"
    page.click("#unrefine")
    page.wait_for_function("() => document.querySelectorAll('.card').length === 21")


def test_several_photos_are_asked_together_or_one_by_one(visit: Visit, photo: Path, tmp_path: Path) -> None:
    (bad := tmp_path / "bad.png").write_bytes(b"no picture")
    page = visit()
    drop(page, photo, photo.with_name("1.png"), bad)
    page.check("input[value=separately]")
    page.wait_for_function("() => document.querySelectorAll('.result').length === 2")
    assert page.locator(".result h2 bdi").all_inner_texts() == ["0.png", "1.png"]
    assert "bad.png" in page.locator(".failure").inner_text()
    assert page.locator("#status").inner_text() == "10 matches; 1 could not be used."
    drop(page, photo)
    assert "only 3 files are taken" in page.locator("#alert").inner_text()


def test_everything_is_reached_by_keys(visit: Visit, photo: Path) -> None:
    page = visit()
    page.on("filechooser", lambda _: None)  # so that choosers are caught from now on
    reached: list[str] = []

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            text = "one => one.getAttribute('aria-label') || one.textContent.trim() || one.id"
            reached.append(page.evaluate(f"({text})(document.activeElement)"))
            if re.match(name, reached[-1]):
                return
        pytest.fail(f"{name} was not reached: {reached}")

    tab_to("Choose files")
    assert reached[0] == "Skip to what was found"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(photo)
    found(page)
    tab_to("Play 1?[0-9] from ")
    page.keyboard.press("Space")
    page.wait_for_function(f"() => {PLAYED}[0][0] === false")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('.card').querySelector('.rank').textContent") == "2"
    page.focus("#tab-search")
    page.keyboard.press("ArrowRight")
    assert page.locator("#view-map").is_visible()
    assert page.evaluate("document.activeElement.id") == "tab-map"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_moves_nothing_where_that_is_unwanted(visit: Visit, photo: Path, scheme: str) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    page = visit(**phone, color_scheme=scheme, reduced_motion="reduce")
    drop(page, photo)
    found(page)
    page.locator(".why summary").first.tap()
    page.click("#refine summary")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.locator(".play").first.bounding_box()["width"] >= 44
    style = "name => getComputedStyle(document.querySelector('.card'))[name]"
    assert page.evaluate(style, "animationName") == "none"
    red = int(re.findall(r"\d+", page.evaluate(style, "backgroundColor"))[0])
    assert red > 200 if scheme == "light" else red < 60


def test_names_are_text_and_never_markup(visit: Visit, photo: Path, tmp_path: Path) -> None:
    shutil.copy(photo, tmp_path / HOSTILE)
    page = visit()
    drop(page, tmp_path / HOSTILE)
    found(page)
    assert HOSTILE.split("\u202e")[0] in page.locator(".result h2 bdi").inner_text()
    assert page.locator("#terms bdi").inner_text() == HOSTILE
    assert page.locator("main b").count() == 0


def test_what_the_service_refuses_is_told_in_its_words(visit: Visit, photo: Path) -> None:
    page = visit()
    page.route("**/api/search", lambda route: route.fulfill(status=503, json={"error": {"message": "busy <b>now</b>"}}))
    drop(page, photo)
    page.wait_for_selector("#alert:visible")
    assert page.locator("#alert").inner_text() == "busy <b>now</b>"
    page.unroute("**/api/search")
    page.click(".remove")
    drop(page, photo)
    found(page)
    assert page.locator("#alert").is_hidden()

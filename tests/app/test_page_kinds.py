"""The page in a browser: sums and differences, the map by pointer and by keys, and moods instead of a photo."""

from pathlib import Path
from typing import Any

import pytest
from browsing import Visit, drop, found
from browsing import address as address
from browsing import browser as browser
from browsing import visit as visit
from served import libraries as libraries
from served import served_workspace as served_workspace

pytestmark = pytest.mark.browser
OPAQUE = """canvas => {
    const {data, width} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const scale = canvas.width / canvas.getBoundingClientRect().width;
    return [...Array(data.length / 4).keys()].filter((place) => data[4 * place + 3] > 200)
        .map((place) => [place % width / scale, Math.floor(place / width) / scale]);
}"""
PLAYING = "() => [...document.querySelectorAll('#map-hit audio')].some((one) => one.currentTime > 0.1)"


def test_more_and_less_like_a_hit_are_added_to_the_query(visit: Visit, served_workspace: Path) -> None:
    page = visit()
    drop(page, served_workspace / "data" / "images" / "0.png")
    first, *_ = found(page, "0.png,")
    page.locator(".card", has_text=first).first.get_by_text("More like this").click()
    assert first not in found(page, f"{first}.flac")
    assert page.locator("#terms bdi").all_inner_texts() == ["0.png", first]
    assert "+" in page.locator(".result h2 bdi").inner_text()
    page.get_by_label(f"{first}: more of it").click()
    found(page, " - ")
    assert page.locator(".term.minus bdi").inner_text() == first
    assert page.evaluate("document.activeElement.className") == "sign"


def test_a_mood_is_asked_for_by_keys_and_by_pointer(visit: Visit) -> None:
    page = visit()
    page.click("#mood summary")
    page.focus("#valence")
    page.keyboard.press("End")
    assert len(found(page, "valence +1.00, arousal +0.00")) == 5
    assert page.locator("#valence").get_attribute("aria-valuetext") == "pleasant 1"
    height = page.locator("#pad").bounding_box()["height"]
    page.locator("#pad").click(position={"x": 5, "y": height - 5})
    found(page, "valence -1.00, arousal -1.00")
    assert page.locator("#terms bdi").inner_text() == "mood: unpleasant 1.00, calm 1.00"
    page.click(".remove")
    page.wait_for_function("() => document.querySelectorAll('#results .card').length === 0")


def test_points_of_the_map_are_heard_by_pointer_and_by_keys(visit: Visit) -> None:
    page = visit()
    page.click("#tab-map")
    page.wait_for_function("() => document.getElementById('map').getAttribute('aria-label')?.includes('21 items')")
    canvas = page.locator("#map")
    place = opaque(page)[0]
    canvas.click(position={"x": place[0] + 1, "y": place[1] + 1})
    page.wait_for_function(PLAYING)
    assert page.locator("#map-status").inner_text().endswith("playing")
    heard = page.locator("#map-hit h3").inner_text()
    canvas.focus()
    told = set()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(key)
        page.wait_for_function("() => !document.getElementById('map-status').textContent.includes('playing')")
        told.add(page.locator("#map-status").inner_text())
    assert len(told) > 1
    page.keyboard.press("Enter")
    page.wait_for_function(PLAYING)
    page.keyboard.press("+")
    page.locator("#map-hit").get_by_text("More like this").click()
    assert page.locator("#terms bdi").count() == 1
    assert heard


def test_emotions_of_the_map_differ_in_shape_and_can_be_hidden(visit: Visit) -> None:
    page = visit()
    page.click("#tab-map")
    page.wait_for_selector("#legend li")
    shapes = [tuple(map(tuple, one.evaluate(OPAQUE))) for one in page.locator("#legend canvas").all()]
    assert len({*shapes}) == len(shapes) > 0
    for box in page.locator("#legend input").all():
        box.uncheck()
    assert not opaque(page)


def opaque(page: Any) -> list[list[float]]:
    """Where something is drawn on the map, in CSS pixels."""
    return page.locator("#map").evaluate(OPAQUE)

"""The page in a browser: pasted files, voice notes, and the contrast of its colours."""

import re
from importlib import resources
from pathlib import Path

import pytest
from browsing import Visit, found, paste
from browsing import address as address
from browsing import browser as browser
from browsing import visit as visit
from served import libraries as libraries
from served import served_workspace as served_workspace


@pytest.mark.browser
def test_a_pasted_picture_is_searched_with(visit: Visit, served_workspace: Path) -> None:
    page = visit()
    paste(page, served_workspace / "data" / "images" / "3.png")
    assert len(found(page, "3.png")) == 5
    page.click(".remove")
    page.wait_for_function("() => !document.body.classList.contains('asked')")
    assert page.locator(".card").count() == 0


@pytest.mark.browser
def test_a_voice_note_is_recorded_and_searched_with(visit: Visit) -> None:
    page = visit(permissions=["microphone"])
    page.click("#record")
    page.wait_for_selector("#record[aria-pressed=true]")
    page.wait_for_timeout(1_500)  # of sound
    page.click("#record")
    assert len(found(page, "voice note 1.wav")) == 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_apart_from_their_ground(scheme: str) -> None:
    style = (resources.files("emoclim.app") / "page" / "look.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", blocks[scheme == "dark"]))
    grounds = [colours[name] for name in ("ground", "surface", "soft", "warn")]
    for name in ("ink", "quiet", "against", "accent"):
        assert min(contrast(colours[name], ground) for ground in grounds) >= 4.5, name
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    for name in [*(name for name in colours if name.startswith("hue")), "wave", "edge"]:
        assert min(contrast(colours[name], ground) for ground in grounds[:2]) >= 3, name


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 defines it."""
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * sign for sign in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

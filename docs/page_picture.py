"""Take the picture of the page in the README, of photos and music of `make demo`: `python docs/page_picture.py`."""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from PIL import Image
from playwright.sync_api import sync_playwright

PATIENCE = 600  # seconds until the page is there: recordings may have to be encoded
SIZE = {"width": 1280, "height": 962}  # CSS pixels
DRAWN = """() => [...document.querySelectorAll(".time")].every((one) => one.textContent.includes("/"))"""


def wait_for(address: str, service: subprocess.Popen[bytes]) -> None:
    """Return once the page answers."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends and service.poll() is None:
        try:
            urlopen(address).close()
        except URLError:
            time.sleep(0.5)
        else:
            return
    sys.exit("the page did not come; run `make demo` first, and see that its port is free")


def take(address: str, photo: Path, target: Path) -> None:
    """Search with a photo, and take the picture once all waveforms are drawn."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, reduced_motion="reduce")
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(address)
        page.set_input_files("#files", photo)
        page.wait_for_selector("#results .card")
        page.locator(".wave").last.scroll_into_view_if_needed()  # waveforms are read when they are in sight
        page.wait_for_function(DRAWN)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=target)
        browser.close()
    with Image.open(target) as taken:
        taken.convert("RGB").save(target, optimize=True)


def main() -> None:
    """Serve the page of the demo for as long as that takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="folder of the demo")
    parser.add_argument("--port", type=int, default=8766)
    parser.add_argument("--target", type=Path, default=Path(__file__).with_name("page.png"))
    asked = parser.parse_args()
    data, address = asked.demo / "data", f"http://127.0.0.1:{asked.port}/"
    words = ["--words", "--in", data / "ace-step", "--workspace", asked.demo, "--port", asked.port]
    service = subprocess.Popen([sys.executable, "-m", "emoclim", "app", *map(str, words)], stdout=subprocess.DEVNULL)
    try:
        wait_for(address, service)
        take(address, data / "photos" / "china.jpg", asked.target)
    finally:
        service.terminate()
        service.wait()


if __name__ == "__main__":
    main()

"""A service that is killed while it opens a library: what it leaves is whole, and the next one finds the same."""

import random
import shutil
import signal
import time
from pathlib import Path

import processes
from few_pictures import write_picture
from soaking import rounds, soak
from tiny_workspace import GIVEN, PICTURES, TRAINED, write_music, write_pictures

from emoclim.app import ServiceSettings, open_page
from emoclim.cache import open_cache
from emoclim.pipeline import (
    Resources,
    TrainHeads,
    Workspace,
    extract_features,
    import_features,
    open_searcher,
    start,
)

IN_ALBUM = 40


def prepare(root: Path) -> None:
    """Make a run of pictures and given music, and an album that nobody has opened."""
    place = Workspace(root)
    write_pictures(root, "images", 0)
    write_music(root)
    extract_features("image", config=PICTURES, workspace=place)
    import_features(root / "given.npz", "audio", "given", GIVEN, workspace=place)
    start(TrainHeads(), TRAINED, Resources(place))
    for number in range(IN_ALBUM):
        write_picture(root / "album" / f"{number}.png", 1000 + number)


def open_album(root: Path) -> None:
    """Do what a service does that is asked to open a folder; tell when it begins."""
    (root / "begun").touch()
    page = open_page(Workspace(root), [str(root / "album")], ServiceSettings(port=0), device="cpu")
    page.taken.close()
    page.libraries.close()


def found(root: Path) -> list[tuple[str, float]]:
    """All that a photo finds in the album."""
    searcher = open_searcher(Workspace(root), library=str(root / "album"), device="cpu")
    photo = root / "data" / "images" / "0.png"
    return [(hit.id, hit.score) for hit in searcher.search([photo], top=2 * IN_ALBUM).results[0].found]


@soak
def test_a_service_that_is_killed_leaves_a_library_whole_or_absent(tmp_path: Path) -> None:
    clean, root, draw = tmp_path / "clean", tmp_path / "work", random.Random(0)
    prepare(clean)
    shutil.copytree(clean, root)
    begun = time.monotonic()
    open_album(root)
    seconds, expected = time.monotonic() - begun, found(root)
    assert len(expected) == IN_ALBUM
    for _ in range(rounds(3)):
        shutil.rmtree(root)
        shutil.copytree(clean, root)
        process = processes.start(open_album, root, told=tmp_path / "told")
        while not (root / "begun").exists() and process.is_alive():
            time.sleep(0.01)
        process.join(draw.uniform(0, seconds))
        process.kill()
        assert processes.exit_codes(process)[0] in (0, -signal.SIGKILL), (tmp_path / "told").read_text()
        for path in (root / "cache").glob("*.h5"):
            with open_cache(path) as cache:
                cache.read(sorted(cache.keys()))
        assert found(root) == expected

"""What C libraries print while files are decoded: it does not reach the terminal, in no process."""

import ctypes
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL.Image
import processes
import pytest
import soundfile as sf
import torch
from torchvision.io import decode_image

from emoclim.data import Item, read_crop, read_image, repeat_pad, without_c_messages
from emoclim.errors import DecodeError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the test prints through the C library of Linux")


def print_by_c(text: str) -> None:
    library = ctypes.CDLL(None)
    library.fputs(text.encode(), ctypes.c_void_p.in_dll(library, "stderr"))
    library.fflush(None)


def test_c_is_silent_and_python_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    with without_c_messages():
        with without_c_messages():
            print_by_c("inner")
        print_by_c("outer")
        print("of Python", file=sys.stderr)  # noqa: T201
    print_by_c("after")
    assert capfd.readouterr().err == "of Python\nafter"


def test_threads_share_the_stream(capfd: pytest.CaptureFixture[str]) -> None:
    entered, leave = threading.Event(), threading.Event()

    def decode() -> None:
        with without_c_messages():
            entered.set()
            leave.wait(10)
            print_by_c("of a thread")

    thread = threading.Thread(target=decode)
    thread.start()
    entered.wait(10)
    with without_c_messages():
        pass
    leave.set()
    thread.join()
    print_by_c("after")
    assert capfd.readouterr().err == "after"


def decode(path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        with suppress(DecodeError):
            read_crop(Item("x", path), 16_000, 4_000, generator, repeat_pad)


def test_decoding_an_mp3_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp3"
    sf.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 80_000), 16_000)
    path.write_bytes(path.read_bytes()[:12_000])  # so that libmpg123 complains
    with sf.SoundFile(path) as file:
        file.seek(5_000)
        assert "stream size" in capfd.readouterr().err
    decode(path)
    process = processes.start(decode, path)
    process.join(60)
    assert process.exitcode == 0
    assert capfd.readouterr().err == ""


def test_decoding_a_jpeg_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jpg"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + content[-2:])
    with suppress(RuntimeError):
        decode_image(str(path))
    assert "Corrupt JPEG data" in capfd.readouterr().err
    with suppress(DecodeError):
        read_image(Item("x", path), decoder="torchvision")
    assert capfd.readouterr().err == ""

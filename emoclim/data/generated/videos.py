"""Generate music videos: the music changes its emotion from passage to passage, and the pictures change with it.

Convention: a passage has music and pictures as :mod:`.music` and :mod:`.pictures` make them of one emotion; of its
pictures, each is seen for some seconds, in which the view wanders over it. Videos are MP4 of H.264 and AAC, which PyAV
writes: ``pip install 'emoclim[media]'``.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emoclim.data.generated.music import SAMPLE_RATE, SECONDS, compose
from emoclim.data.generated.pictures import HEIGHT, WIDTH, paint
from emoclim.errors import ConfigError, MissingLibrary
from emoclim.progress import Track, silent

PARTNERS = {  # of an emotion of music, that of its pictures
    "happy": "contentment",
    "funny": "amusement",
    "exciting": "excitement",
    "angry": "anger",
    "scary": "fear",
    "sad": "sadness",
}
FRAMES = 10  # a second
SCENES = 4  # pictures of a passage
VIEW = (160, 120)  # pixels of a frame; a picture is larger, so that the view can wander
ORDER, WORK, EXCERPT, PICTURES = range(4)  # streams of random numbers


def generate_videos(
    folder: Path, *, seed: int = 0, count: int = 8, passages: int = 3, track: Track = silent
) -> tuple[tuple[str, ...], ...]:
    """Write videos ``000.mp4``, ``001.mp4``, ... of passages of ten seconds; return the emotions of each video's.

    Video n is the same among any number of them, and its passages go through the emotions in an order of its own.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> generate_videos(folder, count=1, passages=2)
    (('angry', 'exciting'),)
    """
    if seed < 0 or count < 1 or passages < 1:
        raise ConfigError(f"cannot generate {count} videos of {passages} passages from seed {seed}; ask for some")
    folder.mkdir(parents=True, exist_ok=True)
    told = []
    for number in track(range(count), "music videos", count):
        order = np.random.default_rng([seed, ORDER, number]).permutation(list(PARTNERS))
        emotions = tuple(str(order[place % len(order)]) for place in range(passages))
        parts = [(emotion, [seed, number, place]) for place, emotion in enumerate(emotions)]
        music = np.concatenate([_play(emotion, which) for emotion, which in parts])
        frames = (frame for emotion, which in parts for frame in _show(emotion, which))
        write_video(folder / f"{number:03}.mp4", frames, FRAMES, music)
        told.append(emotions)
    return tuple(told)


def _play(emotion: str, which: list[int]) -> NDArray[np.float64]:
    return compose(emotion, np.random.default_rng([*which, WORK]), np.random.default_rng([*which, EXCERPT]))


def _show(emotion: str, which: list[int]) -> Iterator[Image.Image]:
    """Make the frames of a passage: a window that goes straight from one place of a picture to another."""
    rng = np.random.default_rng([*which, PICTURES])
    count = round(SECONDS * FRAMES)
    room = np.array((WIDTH - VIEW[0], HEIGHT - VIEW[1]))
    for scene in range(SCENES):
        picture, ends = paint(PARTNERS[emotion], rng), rng.random((2, 2)) * room
        length = count * (scene + 1) // SCENES - count * scene // SCENES
        for part in np.linspace(0, 1, length):
            left, top = (ends[0] + part * (ends[1] - ends[0])).round().astype(int).tolist()
            yield picture.crop((left, top, left + VIEW[0], top + VIEW[1]))


def write_video(path: Path, frames: Iterable[Image.Image], per_second: int, music: NDArray[np.float64]) -> None:
    """Write pictures of one size, so many a second, and mono sound at `SAMPLE_RATE` as an MP4."""
    try:
        import av
        from av.video.reformatter import VideoReformatter
    except ImportError as error:
        raise MissingLibrary("videos are written by one more library: pip install 'emoclim[media]'") from error
    with av.open(path, "w", format="mp4") as container:
        pictures = container.add_stream("libx264", rate=per_second, options={"preset": "ultrafast", "threads": "1"})
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for number, frame in enumerate(frames):
            if not number:
                pictures.width, pictures.height, pictures.pix_fmt = *frame.size, "yuv420p"
            rgb = av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24")
            shown = VideoReformatter().reformat(rgb, format="yuv420p", threads=1)  # more would outlive a fork
            shown.pts, shown.time_base = number, Fraction(1, per_second)
            container.mux(pictures.encode(shown))
        wave = av.AudioFrame.from_ndarray(music[None].astype(np.float32), format="fltp", layout="mono")
        wave.sample_rate = SAMPLE_RATE
        cutter = av.AudioResampler("fltp", "mono", SAMPLE_RATE, frame_size=sound.codec_context.frame_size or 1024)
        for part in [*cutter.resample(wave), *cutter.resample(None)]:
            container.mux(sound.encode(part))
        for stream in (pictures, sound):
            container.mux(stream.encode(None))

"""Measure the scenes of a video with PySceneDetect, which is optional: ``pip install 'emoclim[scenes]'``."""

from pathlib import Path

from emoclim.data.media.c_messages import without_c_messages
from emoclim.errors import DecodeError, MissingLibrary


def longest_scene(path: Path) -> float:
    """Return the length in seconds of a video's longest scene, by the content detector at its usual threshold."""
    try:
        from scenedetect import ContentDetector, VideoOpenFailure, detect
    except ImportError as error:
        raise MissingLibrary(
            f"scenes are told apart by one more library ({error}): pip install 'emoclim[scenes]'; or leave them out "
            "with --option longest_scene=0"
        ) from error
    try:
        with without_c_messages():
            scenes = detect(str(path), ContentDetector(), start_in_scene=True)
    except (VideoOpenFailure, OSError) as error:
        raise DecodeError(f"its scenes cannot be told apart ({' '.join(str(error).split())})") from error
    return max((end.seconds - start.seconds for start, end in scenes), default=0.0)

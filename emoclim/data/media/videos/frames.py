"""Turn the frames that FFmpeg decodes into pictures: 8-bit RGB, upright, as wide as they are shown.

Conventions: colours are converted as FFmpeg does, by the matrix and the range that the frame states (BT.601 and limited
where it states none) and without tone mapping: those of HDR come out pale, and are told.
"""

import struct
from typing import TYPE_CHECKING, Any

import PIL.Image
from PIL.Image import Transpose

from emoclim.data.media.checks import Remark
from emoclim.errors import DecodeError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# How (a, b, c, d) of a display matrix, which takes (x, y) to (a x + c y, b x + d y), turn a picture
TURNS = {
    (1, 0, 0, 1): None,
    (0, 1, -1, 0): Transpose.ROTATE_270,
    (-1, 0, 0, -1): Transpose.ROTATE_180,
    (0, -1, 1, 0): Transpose.ROTATE_90,
    (-1, 0, 0, 1): Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Transpose.TRANSPOSE,
    (0, -1, -1, 0): Transpose.TRANSVERSE,
}
HDR = {16: "PQ", 18: "HLG"}  # by the number of the transfer characteristic (ITU-T H.273)
# Threads of FFmpeg: of more, those that the garbage collector ends in a forked worker are not there, and it would wait
ALONE = 1
WIDEST = 4.0  # of a pixel, to its height or the other way round; beyond, what is stated is taken for damage


def to_picture(frame: "VideoFrame", turn: Transpose | None, pixel_width: float) -> PIL.Image.Image:
    """Make a picture of a frame whose pixels are so many times as wide as they are high."""
    from av.video.reformatter import Interpolation, VideoReformatter

    stretched = 1 / WIDEST <= pixel_width <= WIDEST and pixel_width != 1
    width = max(1, round(frame.width * pixel_width)) if stretched else frame.width
    convert = VideoReformatter().reformat
    shown = convert(frame, width, frame.height, "rgb24", interpolation=Interpolation.BICUBIC, threads=ALONE)
    picture = PIL.Image.fromarray(shown.to_ndarray())
    return picture if turn is None else picture.transpose(turn)


def turn_of(frame: "VideoFrame") -> Transpose | None:
    """Return how a frame is to be turned for it to be upright, as phones state it; None for not at all."""
    stated: Any = frame.side_data.get("DISPLAYMATRIX")
    matrix = b"" if stated is None else bytes(stated)
    if len(matrix) < 36:
        return None
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix[:36])
    least = max(map(abs, (a, b, c, d))) / 100
    signs = tuple((value > least) - (value < -least) for value in (a, b, c, d))
    if signs not in TURNS:
        raise DecodeError("the video is to be shown turned by no right angle; convert it to one that is upright")
    return TURNS[signs]


def remarks_on(frame: "VideoFrame") -> list[Remark]:
    """Say what is odd about the frames of a video that are like this one."""
    kind = HDR.get(int(frame.color_trc))
    return (
        [Remark("are HDR, whose colours are taken without tone mapping, so that they are pale", kind)] if kind else []
    )

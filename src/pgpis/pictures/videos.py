"""Videos: written in H.264, which browsers play; their frames read as pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from os import SEEK_END
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.files import file_name, replacing, replacing_folder, waiting_for
from pgpis.jobs import reason_of
from pgpis.pictures.containers import CONTAINERS, is_video
from pgpis.pictures.images import read_image, save_image
from pgpis.refusals import open_file

log = logging.getLogger(__name__)

FRAMES_PER_SECOND = 25.0
CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "prores", "ffv1")
CLEARLY = 0.02
"""How far the rate by the times of frames is from the one that a video names, where that is wrong, and not rounded."""
MOST_FRAMES = 10_000
"""Of one video; a bit more than six minutes at 25 a second."""
MOST_PIXELS = 7680 * 4320
WIDEST = 16384
"""That x264 writes."""
QUALITY = {"crf": "18", "preset": "medium"}
BT709, UNKNOWN, BT601, LIMITED = 1, 2, 5, 1
"""Colours of a video, as ffmpeg counts them: matrix, primaries and curve; and their range, from 16 to 235."""
HD = 720
"""Rows from which players take colours that a video does not name for BT.709, else BT.601."""


@dataclass(frozen=True)
class FrameFiles:
    """The pictures of one frame, from left to right; all are brought to the last one's size if that fits."""

    pictures: tuple[Path, ...]


def write_video(
    path: Path,
    frames: Sequence[FrameFiles],
    frames_per_second: float = FRAMES_PER_SECOND,
    read: Callable[[Path], Image.Image] = read_image,
) -> None:
    """Write an mp4 in which each frame shows its pictures side by side; nobody ever sees half of it.

    Args:
        path: The file.
        frames: Their pictures.
        frames_per_second: Of the video.
        read: Reads a picture.

    Raises:
        PgpisError: There are no frames, a picture cannot be read, or the video cannot be written.
    """
    import av

    if not frames:
        raise PgpisError(f"{path}: no frames")
    width, height = read(frames[0].pictures[-1]).size
    shrunk = min(1.0, WIDEST / (width * len(frames[0].pictures)))
    size = int(width * shrunk), max(1, int(height * shrunk))
    width = size[0] * len(frames[0].pictures)
    with replacing(path) as temporary:
        try:
            # the index comes first, so that a browser plays while it loads
            with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container:
                rate = Fraction(frames_per_second).limit_denominator(1001)
                stream = container.add_stream("libx264", rate=rate, options=QUALITY)
                stream.pix_fmt = "yuv420p"  # the only one that every browser knows; it takes even sizes only
                stream.width, stream.height = width + width % 2, size[1] + size[1] % 2
                codec = stream.codec_context  # players guess what is not named, and not all the same
                codec.colorspace = codec.color_primaries = codec.color_trc = BT709
                codec.color_range = LIMITED
                colours = {"dst_colorspace": BT709, "dst_color_range": LIMITED}
                for frame in frames:
                    row = np.zeros((stream.height, stream.width, 3), np.uint8)
                    pictures = [np.asarray(read(picture).resize(size)) for picture in frame.pictures]
                    row[: size[1], :width] = np.concatenate(pictures, axis=1)
                    shown = av.VideoFrame.from_ndarray(row, format="rgb24").reformat(format=stream.pix_fmt, **colours)
                    container.mux(stream.encode(shown))
                container.mux(stream.encode())
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, OSError):  # of the disk: told where the file is replaced
                raise
            raise PgpisError(f"{path}: {reason_of(error)}") from error


@dataclass(frozen=True)
class VideoFrames:
    """Pictures of a video's frames."""

    folder: Path
    """``STEM_000001.png`` and so on, numbered as in the video."""
    frames_per_second: float
    """At which the pictures that were taken show what the video shows."""


def extract_frames(path: Path, folder: Path, every: int = 1) -> VideoFrames:
    """Write frames of a video as pictures, upright; a folder that is there, or that another job makes, is taken.

    Args:
        path: The video.
        folder: Where to; written as a whole.
        every: Take the first of so many frames.

    Raises:
        PgpisError: The video is damaged, too large or too long, or of a format that is not read.
    """
    if every < 1:
        raise PgpisError(f"--every {every}: expected a number of at least 1")
    rate = min(max(_rate(path, every), 1.0), 240.0) / every
    if not folder.is_dir():
        with waiting_for(folder.with_name(file_name(folder.name, ".lock"))):
            if not folder.is_dir():  # else another job has made it meanwhile
                _write_frames(path, folder, every)
    return VideoFrames(folder, rate)


def _write_frames(path: Path, folder: Path, every: int) -> None:
    stem = path.stem.lstrip(".") or "frame"  # pictures of hidden names would not be seen
    with replacing_folder(folder, is_locked=True) as temporary:
        for number, picture in read_frames(path, every):
            save_image(picture, temporary / file_name(stem, f"_{number:06d}.png"))


def _rate(path: Path, every: int) -> float:
    """Return how many frames a video shows in a second: by their times, where its own word differs from these."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or stream.guessed_rate or FRAMES_PER_SECOND)
        with _errors_named(path):
            packets = islice(_packets(container), MOST_FRAMES * every + 1)
            times = [packet.pts * packet.time_base for packet in packets if packet.pts is not None]
    seconds = float(max(times) - min(times)) if times else 0.0
    measured = (len(times) - 1) / seconds if seconds else rate
    return measured if abs(measured / rate - 1) > CLEARLY else rate


def read_frames(path: Path, every: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Yield the number, from 1, and the picture of a video's frames; one is held at a time.

    A frame that is damaged is left out, its number too; the next one is taken in its place.

    Raises:
        PgpisError: See :func:`extract_frames`; no frame can be read.
    """
    due = 1
    for number, frame, ratio in _decoded(path, MOST_FRAMES * every):
        if number >= due:
            picture = _with_square_pixels(path, Image.fromarray(_rgb(frame)), ratio)
            yield number, _upright(picture, frame)
            due = number - (number - 1) % every + every


def _rgb(frame: Any) -> np.ndarray:
    """Return a frame as (H, W, 3), in the colours that it names, or that players take it to have."""
    is_hd = frame.colorspace == UNKNOWN and frame.height >= HD
    matrices = {"src_colorspace": BT709 if is_hd else frame.colorspace, "dst_colorspace": BT601}  # for PyAV 14: two
    return np.asarray(frame.to_ndarray(format="rgb24", src_color_range=frame.color_range, **matrices))


def _with_square_pixels(path: Path, picture: Image.Image, ratio: Fraction | None) -> Image.Image:
    """Make a picture wider or higher, as players do, whose pixels are not square; nothing of it is lost."""
    wider = float(ratio or 1)
    size = round(picture.width * max(wider, 1.0)), round(picture.height * max(1 / wider, 1.0))
    if size[0] * size[1] > MOST_PIXELS:
        raise PgpisError(f"{path}: its frames are shown at {size[0]}x{size[1]} pixels, more than 7680x4320")
    return picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)


def _upright(picture: Image.Image, frame: Any) -> Image.Image:
    """Flip and turn a picture as players do: a telephone was held upright, or shows its owner as a mirror does."""
    try:
        a, b, _, c, d, *_ = np.frombuffer(frame.side_data["DISPLAYMATRIX"], np.int32).tolist()
    except (KeyError, ValueError):  # there is none, or something beside it that PyAV cannot name
        a = b = c = d = 0
    if a * d < b * c:  # what the angle leaves out; the angle is that of the first row, which this flip keeps
        picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    turn = int(frame.rotation)
    quarter = 90 * round(turn / 90)
    turn = quarter if abs(turn - quarter) <= 1 else turn  # by rounding
    return picture.rotate(turn, expand=True) if -180 <= turn <= 180 else picture


def frame_count(path: Path) -> int:
    """Return how many pictures there are in a video; none of them is decoded.

    Raises:
        PgpisError: See :func:`extract_frames`.
    """
    with _opened(path) as container, _errors_named(path):
        count = sum(1 for _ in _packets(container))
    if not count:
        raise PgpisError(f"{path} holds no frames")
    return count


def _packets(container: Any) -> Iterator[Any]:
    """Yield the packets of a video, up to where its container is damaged."""
    from av.error import InvalidDataError

    with suppress(InvalidDataError):
        yield from (packet for packet in container.demux(video=0) if packet.size)


def _decoded(path: Path, most: int) -> Iterator[tuple[int, Any, Fraction | None]]:
    """Yield the number and the frame of those that can be read, and how many times as wide as high its pixels are."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        frames, count, number, problem = _frames(container), 0, 0, None
        while True:
            with _errors_named(path):
                frame = next(frames, None)
                if frame is None and problem and not count:
                    raise problem
            if frame is None:
                break
            number += 1
            if number > most:
                raise PgpisError(f"{path} has more than {most:,} frames", hint="cut it, or take fewer: --every 5")
            if isinstance(frame, Exception):
                problem = frame
                continue
            count += 1
            yield number, frame, stream.sample_aspect_ratio
        if not count:
            raise PgpisError(f"{path} holds no frames")
        expected = max(number, stream.frames)
        if count < expected:  # or it was trimmed without being encoded anew
            told = "%s: %d of the %d frames can be read (damaged packets: %d); is it cut short?"
            log.warning(told, path, count, expected, number - count)


def _frames(container: Any) -> Iterator[Any]:
    """Yield the frames of a video, and an error in place of each packet that is damaged."""
    from av.error import InvalidDataError, PatchWelcomeError

    # nothing at the end brings what the decoder still holds, as an empty packet would in between
    packets = chain((packet for packet in container.demux(video=0) if packet.size), [None])
    while True:
        try:
            for packet in packets:
                yield from container.streams.video[0].decode(packet)
        except (InvalidDataError, PatchWelcomeError) as error:
            yield error
        else:
            return


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a video by its suffix alone, and refuse what would take too much to decode."""
    import av

    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_file(path))
        except OSError as error:
            raise PgpisError(f"cannot read the video {path}: {error.strerror}") from error
        if not is_video(path):
            raise PgpisError(f"{path}: expected a video ({', '.join(CONTAINERS)})")
        if not file.seek(0, SEEK_END):
            raise PgpisError(f"{path} is empty, expected a video")
        file.seek(0)
        with _errors_named(path):
            container = av.open(file, format=CONTAINERS[path.suffix.lower()], metadata_errors="ignore")
            stack.enter_context(container)
        streams = container.streams.video
        if not streams:
            raise PgpisError(f"{path} holds no pictures")
        codec = streams[0].codec_context
        name = None if codec is None else codec.name
        if name not in (*CODECS, "libdav1d"):
            raise PgpisError(f"{path}: its codec is {name}, expected one of {', '.join(CODECS)}")
        if codec.width * codec.height > MOST_PIXELS:
            raise PgpisError(f"{path}: its frames have {codec.width}x{codec.height} pixels, more than 7680x4320")
        codec.options = {"max_pixels": str(MOST_PIXELS)}  # a stream may become larger than its header says
        # not several frames at once: a damaged one took those beside it along; and writing pictures takes longer
        yield container


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise PgpisError(f"cannot read the video {path}: {reason_of(error)}") from error

"""Videos of predicted frames: source | pose | truth | results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from PIL import Image

from pgpis.errors import PgpisError
from pgpis.files import file_name
from pgpis.pictures.images import read_image
from pgpis.pictures.videos import FrameFiles, write_video
from pgpis.predictions.folder import PredictionFolder
from pgpis.predictions.records import DONE, read_records
from pgpis.predictions.sheet import MOST_RESULTS

log = logging.getLogger(__name__)


def write_videos(
    folder: PredictionFolder,
    sequences: Mapping[str, Collection[tuple[str, Path, Path | None]]],
    frames_per_second: float,
    read_input: Callable[[Path], Image.Image] = read_image,
) -> bool:
    """Write a video of each sequence whose frames were predicted; of a frame that has several pictures, all are shown.

    Args:
        folder: Holds the pictures, of the same number for each frame. A frame that failed repeats the one before, and
            before the first picture that one, so that the video keeps its time; what was not drawn yet is left out.
        sequences: By the name of the video, its frames: pair, source and, where there is one, the truth.
        frames_per_second: Of the videos.
        read_input: Reads a source or a truth, which may be in a pack.

    Returns:
        Whether all could be written.
    """
    images: dict[str, list[Path]] = {}
    failed = set[str]()
    for record in read_records(folder.out)[0]:
        if record.status == DONE:
            images.setdefault(record.pair_id, []).append(folder.out / record.image)
        else:
            failed.add(record.pair_id)
    whole = {pair for pair, paths in images.items() if len(paths) >= int(folder.settings["images_per_pair"])}
    inputs = {path for sequence in sequences.values() for _, *paths in sequence for path in paths}

    def read(path: Path) -> Image.Image:
        return read_input(path) if path in inputs else read_image(path)

    is_whole = True
    for name, sequence in sequences.items():
        frames = [
            FrameFiles((source, folder.pose_picture(pair), *([truth] if truth else []), *images[pair][:MOST_RESULTS]))
            if pair in whole
            else None
            for pair, source, truth in sequence
            if pair in whole or pair in failed
        ]
        drawn = [frame for frame in frames if frame is not None]
        if not drawn:
            continue
        last = drawn[0]
        film = [last := frame or last for frame in frames]
        path = folder.out / "videos" / file_name(name, ".mp4")
        try:
            write_video(path, film, frames_per_second, read)
        except (PgpisError, OSError) as error:  # its pictures are there, and so are the other videos
            log.error("%s", error)  # noqa: TRY400  its traceback is of no use
            is_whole = False
        else:
            others = "" if len(drawn) == len(film) else f" of {len(film)}"
            log.info("%s: %d%s frames%s", path, len(drawn), others, others and ", the others repeat the one before")
    return is_whole

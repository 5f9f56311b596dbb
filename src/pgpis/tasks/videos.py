"""The first frame of a video is drawn along in each batch of its frames, which look at it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pgpis.batch import PairBatch, joined


def anchored(batch: PairBatch, first_frame: Callable[[str], PairBatch]) -> tuple[PairBatch, torch.Tensor]:
    """Add the first frames of the videos of a batch.

    Args:
        batch: P pairs, some of which may be frames.
        first_frame: Returns the first frame of a video as a batch of one.

    Returns:
        P' pairs: the given ones, then the first frames that were missing among them; int64 ``(P', 1)``, the place of
        each pair's first frame. A pair that is not a frame has its own.
    """
    firsts = {video: first_frame(video) for video in dict.fromkeys(batch["video"]) if video}
    added = {video: first for video, first in firsts.items() if first["pair_id"][0] not in batch["pair_id"]}
    names = [*batch["pair_id"], *(first["pair_id"][0] for first in added.values())]
    videos = [*batch["video"], *added]
    anchors = [names.index(firsts[video]["pair_id"][0]) if video else row for row, video in enumerate(videos)]
    return joined([batch, *added.values()]), torch.tensor(anchors)[:, None]

"""What a task asks of the data that it is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

from pgpis.batch import InputSpecs
from pgpis.pictures.drawing import PoseSkeleton


class TrainingData(Protocol):
    """What a task may ask of the data that it is trained on; see ``PoseTransferDataModule``."""

    pose_canvas: tuple[int, int]
    stick_width: int | None
    pose_skeleton: PoseSkeleton | None

    def require_one_source(self, why: str) -> None:
        """Refuse pairs of several sources in training and validation; ``why`` begins the message.

        Raises:
            PgpisError: There are some.
        """

    def batches_per_epoch(self) -> int:
        """Return how many batches each process trains on in an epoch."""

    def training_pictures(self, key: str, specs: InputSpecs, count: int) -> Iterator[torch.Tensor]:
        """Yield one entry of ``count`` training pairs, made by ``specs``."""

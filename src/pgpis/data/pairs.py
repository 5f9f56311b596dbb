"""A pair of source picture and target pose, and what every data set of pairs has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.images import IMAGE_SUFFIXES, read_image
from pgpis.keypoints import Frame, Keypoints, read_keypoints

ORIGINS = ("source", "target", "pose")


@dataclass(frozen=True)
class Pair:
    """The files of one pair."""

    pair_id: str
    """``SOURCE_2_POSE``: names the result."""
    source: Path
    """Picture of the person."""
    pose: Path
    """File that the target pose is read from: key points or a drawn skeleton."""
    target: Path | None = None
    """Picture of the person in the target pose, where there is one."""


@dataclass(frozen=True)
class LoadedPair:
    """The content of the files of one pair; None for what was not asked for or does not exist."""

    pair: Pair
    source: Image.Image | None
    target: Image.Image | None
    keypoints: Keypoints | None
    pose_image: Image.Image | None


class PairDataset(ABC):
    """A list of pairs on disk.

    The constructor only keeps its arguments; ``setup`` reads the lists, so that a configuration can be built and
    printed without the files.

    Args:
        self_pair_probability: In training, share of pairs whose target picture also serves as their source.
        pose_frame: What key points refer to, where their files do not say it.
    """

    def __init__(self, self_pair_probability: float = 0.0, pose_frame: Frame | None = None) -> None:
        self.self_pair_probability = self_pair_probability
        self.pose_frame = pose_frame
        self._pairs: tuple[Pair, ...] | None = None

    @abstractmethod
    def read_pairs(self) -> Sequence[Pair]:
        """Read the lists or list the folders.

        Raises:
            PgpisError: Something is missing or malformed; names it.
        """

    def setup(self) -> None:
        """Read the list of pairs; a second call changes nothing."""
        if self._pairs is None:
            self._pairs = tuple(self.read_pairs())

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs, in the order of their index.

        Raises:
            PgpisError: ``setup`` was not called.
        """
        if self._pairs is None:
            raise PgpisError(f"{type(self).__name__} has not read its lists yet", hint="call setup() first")
        return self._pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def load(
        self,
        index: int,
        origins: Collection[str] = ORIGINS,
        generator: torch.Generator | None = None,
    ) -> LoadedPair:
        """Read the files of one pair.

        Args:
            index: Position in ``pairs``.
            origins: Which of ``source``, ``target`` and ``pose`` are needed; nothing else is read.
            generator: Given in training only: draws whether this is a self-pair.

        Raises:
            PgpisError: A file is missing or unreadable.
        """
        pair = self.pairs[index]
        if generator is not None and pair.target is not None:
            drawn = torch.rand((), generator=generator).item()
            if drawn < self.self_pair_probability:
                pair = replace(pair, source=pair.target)
        source = read_image(pair.source) if "source" in origins else None
        target = read_image(pair.target) if "target" in origins and pair.target is not None else None
        if "pose" not in origins:
            return LoadedPair(pair, source, target, None, None)
        if pair.pose.suffix.lower() in IMAGE_SUFFIXES:
            return LoadedPair(pair, source, target, None, read_image(pair.pose))
        return LoadedPair(pair, source, target, read_keypoints(pair.pose, self.pose_frame), None)

"""A data set of people who are drawn when they are asked for, and never written."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pgpis.data.pair import Aim, LoadedPair, Pair, Person
from pgpis.data.pairs import ORIGINS, PairDataset
from pgpis.errors import check_range
from pgpis.pictures.arrays import read_face
from pgpis.pictures.images import read_image
from pgpis.pictures.iuv import iuv_pixels
from pgpis.pictures.keypoints import FEET_AND_HANDS
from pgpis.pictures.kinds import Kind, register
from pgpis.synth.files.options import Look, is_photographed
from pgpis.synth.scene.render import draw_labels
from pgpis.synth.scene.sampling import views_of
from pgpis.synth.scene.scene import Scene

_COMMAND = "--data.train=pgpis.synth.people.DrawnPeople"
register(
    Kind("silhouette", "silhouette", read_image, ".png", of="target", is_file=False, command=_COMMAND),
    Kind("points", "points of a body", read_face, ".npy", of="target", is_file=False, command=_COMMAND),
)


class DrawnPeople(PairDataset):
    """The maps, silhouettes and points of drawn people, for the net that learns maps from the two others.

    Args:
        people: Number of people.
        views: Pictures of each, as in ``pgpis synth``.
        seed: Seed of everything.
        first: Number of the first person: those of training and validation are others.
        size: (height, width) at which they are drawn.
        look: As in ``pgpis synth``: clothes, hair and frames of those that look photographed are others.
    """

    def __init__(
        self,
        people: int,
        views: int = 8,
        seed: int = 0,
        first: int = 0,
        size: tuple[int, int] = (256, 176),
        look: Look = "drawn",
    ) -> None:
        super().__init__()
        check_range("people", people, 1, whole=True)
        check_range("views", views, 1, 100, whole=True)
        check_range("first", first, 0, whole=True)
        self.people = people
        self.views = views
        self.seed = seed
        self.first = first
        self.size = size
        self.look = look
        self._drawn: dict[int, list[tuple[bytes, NDArray[np.float32]]]] = {}

    def read_pairs(self) -> list[Pair]:
        """Name the pictures."""
        names = (f"{person}_{view}" for person in range(self.people) for view in range(self.views))
        return [Pair(name, Person(Path(name)), Aim()) for name in names]

    def require(self, origins: Collection[str]) -> None:
        """Everything can be drawn."""

    def load(
        self, index: int, origins: Collection[str] = ORIGINS, generator: torch.Generator | None = None
    ) -> LoadedPair:
        """Draw the labels of a picture."""
        person, view = divmod(index, self.views)
        if person not in self._drawn:  # to dress somebody takes longer than to draw them
            height, width = self.size
            photographed = is_photographed(self.look, person)
            scenes = views_of(self.seed, self.first + person, self.views, width / height, photographed=photographed)
            self._drawn[person] = [self._draw(scene) for scene in scenes]
        packed, points = self._drawn[person][view]
        labels = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(4, *self.size)
        conditions = {
            "iuv": Image.fromarray(np.ascontiguousarray(np.moveaxis(labels[:3], 0, -1))),
            "silhouette": Image.fromarray(labels[3]).convert("RGB"),
            "points": points,
        }
        return LoadedPair(self.pairs[index], conditions=conditions)

    def _draw(self, scene: Scene) -> tuple[bytes, NDArray[np.float32]]:
        """Return a picture's map and silhouette ``(4, H, W)``, packed, and its points."""
        height, width = self.size
        iuv, layer, (body18, _, whole133) = draw_labels(scene, height, width)
        planes = [*np.moveaxis(iuv_pixels(iuv), -1, 0), (layer >= 0).astype(np.uint8) * 255]
        points = np.concatenate([body18, whole133[list(FEET_AND_HANDS)]])
        return zlib.compress(np.stack(planes).tobytes(), 1), (points / [width, height, 1]).astype(np.float32).ravel()

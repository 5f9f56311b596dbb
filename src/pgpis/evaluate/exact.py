"""Scores against exact truth, which only synthetic people have: any picture can be drawn again with one thing changed.

Errors are mean absolute differences of colours (0..255) over the pixels that the truth shows as garment, skin, hair or
background, and over the box of a face that the truth shows. Print sharpness is how strong gradients are on printed
garments, as a share of the truth's: 1 is as sharp, less is blurred, more is noise. Recognition asks which of several
exact drawings a generated picture is closest to: those drawings differ from the truth in the pose alone, the person
alone, or the outfit alone. No net is involved.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from pgpis.errors import PgpisError
from pgpis.pictures.images import resize
from pgpis.synth.figure.description import GARMENTS, Layer
from pgpis.synth.files.manifest import Entry, read_manifest
from pgpis.synth.scene.edit import with_identity, with_outfit, with_pose
from pgpis.synth.scene.render import Picture, draw
from pgpis.synth.scene.scene import Scene

REGIONS: Mapping[str, tuple[int, ...]] = {
    "garment_error": tuple(GARMENTS),
    "skin_error": (Layer.SKIN, Layer.EYES),
    "hair_error": (Layer.HAIR,),
    "background_error": (-1,),
}
CHANGES: Mapping[str, Callable[[Scene, Scene], Scene]] = {
    "pose_recognised": lambda scene, other: with_pose(scene, other.pose),
    "identity_recognised": lambda scene, other: with_identity(scene, other.identity),
    "outfit_recognised": lambda scene, other: with_outfit(scene, other.outfit),
}
NAMES = (*REGIONS, "face_error", "print_sharpness", *CHANGES)
HEM = 2
"""Pixels inside a garment's outline whose gradients are its edge's, not its print's."""
LEAST_CLOTH = 64
"""Pixels of a garment below which its sharpness is chance."""
PRINTED = 60.0
"""Mean of Sobel's magnitude from which a garment counts as printed; folds alone reach half of it."""

Pixels = NDArray[np.uint8]


class ExactScores:
    """Scores pictures of a data set that ``pgpis synth`` has drawn.

    Args:
        root: The data set's folder, with its manifest.
        candidates: Drawings to choose from in recognition, the true one among them; chance is 1 in so many.
        seed: Chooses the others; the same for the same picture, whoever made it.

    Raises:
        PgpisError: There is no manifest, or it has too few people.
    """

    def __init__(self, root: Path, candidates: int = 5, seed: int = 0) -> None:
        self.root = root
        self.candidates = candidates
        self.seed = seed
        self._entries = {entry.name: entry for entry in read_manifest(root)}
        people = Counter(split for split, _ in {(entry.split, entry.person) for entry in self._entries.values()})
        for split, count in people.items():
            if count < candidates:
                raise PgpisError(
                    f"{root} has {count} people for '{split}', {candidates} are needed to choose from",
                    hint="fewer --candidates, or more people",
                )

    def __call__(self, target: Path, pictures: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Score what several methods made of one pair; the drawings to choose from are made once.

        Args:
            target: The true picture's file, in the data set.
            pictures: The generated ones; each is brought to the true one's size.

        Returns:
            For each picture errors, NaN where the truth shows nothing of the kind; 1.0 where something was recognised,
            else 0.0.

        Raises:
            PgpisError: The manifest does not know the file.
        """
        entry = self.entry(target)
        truth = entry.draw()
        others = [other.scene for other in self._others(entry)]
        drawn = {
            name: [draw(change(entry.scene, other), *entry.size).rgb for other in others]
            for name, change in CHANGES.items()
        }
        return [_score(np.asarray(resize(picture, *entry.size)), truth, drawn) for picture in pictures]

    def entry(self, target: Path) -> Entry:
        """Return the manifest's line of a picture.

        Raises:
            PgpisError: There is none.
        """
        name = target.relative_to(self.root).as_posix()
        if name not in self._entries:
            raise PgpisError(f"{self.root}: the manifest does not know {name}", hint="read the layout 'fpdm'")
        return self._entries[name]

    def _others(self, entry: Entry) -> Sequence[Entry]:
        """Choose pictures of other people of the same split."""
        rng = np.random.default_rng([zlib.crc32(entry.name.encode()), self.seed])
        by_person: dict[int, list[Entry]] = {}
        for other in self._entries.values():
            if other.split == entry.split and other.person != entry.person:
                by_person.setdefault(other.person, []).append(other)
        people = rng.permutation(sorted(by_person))[: self.candidates - 1]
        return [by_person[person][int(rng.integers(len(by_person[person])))] for person in people]


def _score(ours: Pixels, truth: Picture, drawn: Mapping[str, Sequence[Pixels]]) -> dict[str, float]:
    own = _distance(ours, truth.rgb)
    recognised = {name: float(all(own < _distance(ours, other) for other in others)) for name, others in drawn.items()}
    errors = {**region_errors(ours, truth), "face_error": face_error(ours, truth)}
    return {**errors, "print_sharpness": print_sharpness(ours, truth), **recognised}


def region_errors(ours: Pixels, truth: Picture) -> dict[str, float]:
    """Return the mean absolute difference of colours by region, NaN for one that the truth does not show.

    Args:
        ours: The generated picture, ``(H, W, 3)`` RGB, of the truth's size.
        truth: The exact drawing.
    """
    difference = _difference(ours, truth)
    return {name: _mean(difference[np.isin(truth.layer, layers)]) for name, layers in REGIONS.items()}


def face_error(ours: Pixels, truth: Picture) -> float:
    """Return the mean absolute difference of colours in the face's box; NaN where the truth does not show the face."""
    if truth.face_box is None:
        return float("nan")
    left, top, right, bottom = (max(0, round(side)) for side in truth.face_box)
    return _mean(_difference(ours, truth)[top:bottom, left:right])


def print_sharpness(ours: Pixels, truth: Picture) -> float:
    """Return how strong the gradients on printed garments are, as a share of the truth's.

    Both are means of Sobel's magnitude by channel over the pixels that lie more than :data:`HEM` pixels inside the
    outline of a garment on which the truth's own mean is :data:`PRINTED` at least: on plain cloth, what a blur carries
    in from the outline would be sharpness. Means of magnitudes, not of squares, so that a few strong edges do not
    outweigh the cloth. What is sharp in the wrong place counts as sharp: the errors tell that it is wrong.

    Args:
        ours: The generated picture, ``(H, W, 3)`` RGB, of the truth's size.
        truth: The exact drawing.

    Returns:
        0 for a plain colour, 1 for the truth; NaN where the truth shows no printed garment.
    """
    gradients, reference = _gradients(ours), _gradients(truth.rgb)
    garments = [binary_erosion(truth.layer == layer, iterations=HEM) for layer in GARMENTS]
    printed = [cloth for cloth in garments if cloth.sum() >= LEAST_CLOTH and float(reference[cloth].mean()) >= PRINTED]
    if not printed:
        return float("nan")
    cloth = np.any(printed, axis=0)
    return float(gradients[cloth].mean() / reference[cloth].mean())


def _gradients(picture: Pixels) -> NDArray[np.float32]:
    """Return Sobel's magnitude by channel, ``(H, W, 3)``."""
    across, down = (cv2.Sobel(picture, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    return np.hypot(across, down)


def _difference(ours: Pixels, truth: Picture) -> NDArray[np.float64]:
    """Return the mean absolute difference of colours, ``(H, W)``."""
    return np.abs(ours.astype(np.int16) - truth.rgb.astype(np.int16)).mean(axis=-1)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _distance(first: Pixels, second: Pixels) -> float:
    return float(np.square(first.astype(np.float32) - second.astype(np.float32)).mean())

"""What a picture of a photographed person is worth, beside that person's photograph in the same pose.

``background error`` is the mean absolute difference of colours (0..255) beside the silhouette of the truth and a margin
around it. ``outfit recognised`` is how likely a picture's clothes are nearer to the truth's than to those of a few
photographs of other people: the share of all choices of these, so that no seed, name or order moves it. Clothes are the
mean colours of DensePose's parts from neck to wrists and ankles, as far as the truth shows them, each weighed by its
pixels there. A generated picture's are read through the truth's map, as it should show that pose; the others' through
their own, and where they do not show a part, its twin is read: so colours are compared, and not poses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgpis.evaluate.baselines import mean_part_colours, part_colours, with_twins
from pgpis.jobs import meter
from pgpis.pictures.backdrop import with_margin
from pgpis.pictures.images import read_image, resize
from pgpis.pictures.iuv import PARTS, read_part_u_v
from pgpis.pictures.uv_texture import PART_GROUPS
from pgpis.preprocess.blazepose.estimator import PERSON, see
from pgpis.preprocess.settings import NothingFoundError

CLOTHED = [part - 1 for part in (*PART_GROUPS["upper"], *PART_GROUPS["lower"])]
"""Rows of the parts' colours."""


def clothes_colours(maps: Mapping[Path, Path]) -> dict[Path, NDArray[np.float64]]:
    """Return the colours ``(24, 3)`` of parts of each photograph, by its DensePose map, with those of their twins."""
    colours = {}
    with meter("clothes", len(maps)) as advance:
        for picture, iuv in maps.items():
            colours[picture] = with_twins(mean_part_colours(picture, iuv))
            advance(1)
    return colours


@dataclass(frozen=True)
class PhotoScores:
    """Scores pictures of one pose by the photograph that is the truth, and those of other people."""

    maps: Mapping[Path, Path]
    """DensePose's map of each photograph."""
    people: Mapping[Path, int]
    """Whom each photograph shows."""
    worn: Mapping[Path, NDArray[np.float64]]
    """What each person wears in each photograph, see :func:`clothes_colours`."""
    size: tuple[int, int]
    """(height, width) at which pictures are compared."""
    candidates: int = 5
    """Photographs to choose from, the truth among them, one of each person."""

    def __call__(self, target: Path, pictures: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Score what several methods made of one pair.

        Args:
            target: The true photograph.
            pictures: The generated ones; each is brought to the compared size.

        Returns:
            For each picture the background's error, NaN where nobody is found in the truth, or the person fills it;
            the share, 0 to 1, of choices of other people among whom the outfit is recognised, NaN where the truth shows
            no clothes, or nobody else shows any of the same parts.
        """
        photograph = read_image(target)
        truth = np.asarray(resize(photograph, *self.size))
        background = self._background(photograph)
        parts = self._small(read_part_u_v(self.maps[target])[..., 0])
        weights = np.bincount(parts.ravel(), minlength=PARTS + 1)[1:]
        worn = part_colours(truth, parts)
        scores = []
        for picture in pictures:
            ours = np.asarray(resize(picture, *self.size))
            colours = part_colours(ours, parts)
            own = _clothes_distance(colours, worn, weights)
            recognised = self._recognised(target, own, colours, weights) if np.isfinite(own) else float("nan")
            difference = np.abs(ours.astype(np.int16) - truth.astype(np.int16))[background]
            error = float(difference.mean()) if difference.size else float("nan")
            scores.append({"background_error": error, "outfit_recognised": recognised})
        return scores

    def _background(self, photograph: Image.Image) -> NDArray[np.bool_]:
        """Return what lies beside the person, at the compared size; nothing where nobody is found."""
        try:
            person = see(np.asarray(photograph)).silhouette > PERSON
        except NothingFoundError:
            return np.zeros(self.size, bool)
        return ~self._small(with_margin(person))

    def _recognised(self, target: Path, own: float, colours: NDArray[np.float64], weights: NDArray[np.int64]) -> float:
        """Return the share of choices of other people who are all farther away than the truth; NaN if nobody is known.

        A choice has one photograph of each person, all equally likely; photographs and people that show nothing of the
        same parts cannot be chosen.
        """
        farther: dict[int, list[bool]] = {}
        for picture, person in self.people.items():
            if person != self.people[target]:
                distance = _clothes_distance(colours, self.worn[picture], weights)
                if np.isfinite(distance):
                    farther.setdefault(person, []).append(own < distance)
        chosen = min(self.candidates - 1, len(farther))
        return mean_product([float(np.mean(each)) for each in farther.values()], chosen) if chosen else float("nan")

    def _small(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Bring labels of pixels to the compared size."""
        return np.asarray(resize(Image.fromarray(labels), *self.size, nearest=True))


def _clothes_distance(ours: NDArray[np.float64], theirs: NDArray[np.float64], weights: NDArray[np.int64]) -> float:
    """Return how far the colours of clothes are apart, over parts that both know; infinite where there is none."""
    difference = np.abs(ours - theirs).mean(axis=1)[CLOTHED]
    known = np.isfinite(difference)
    return float(np.average(difference[known], weights=weights[CLOTHED][known])) if known.any() else np.inf


def mean_product(shares: Sequence[float], chosen: int) -> float:
    """Return the mean, over all choices of ``chosen`` of the values, of their product."""
    means = np.zeros(chosen + 1)  # of the products of 0, 1, ... of the values so far
    means[0] = 1
    size = np.arange(1, chosen + 1)
    for number, share in enumerate(shares, 1):
        within = np.minimum(size / number, 1)  # how many of the choices of each size hold this value
        means[1:] = within * share * means[:-1] + (1 - within) * means[1:]
    return float(means[-1])

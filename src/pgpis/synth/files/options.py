"""What a data set of synthetic people is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pgpis.errors import PgpisError, check_range
from pgpis.pictures.kinds import Inpainting

HiddenPoints = Literal["limbs", "all", "none"]
Textures = Literal["exact", "seen", "none"]
Look = Literal["drawn", "photo", "mixed"]
MOST_VIEWS = 100
"""A kind of view comes at most twice in eight, and an item's number has two digits."""
MOST_TEST_SHARE = 0.5
LEAST_SIGNERS = 3
"""With fewer, train would be empty."""


@dataclass(frozen=True)
class Unit:
    """All pictures of a person (``person``), or a signer's sequence (``signer``)."""

    kind: Literal["person", "signer"]
    index: int
    pictures: int

    def __str__(self) -> str:
        return f"{self.kind} {self.index}"

    @property
    def record(self) -> str:
        """Name of its record, which says that it is done."""
        folder = "people" if self.kind == "person" else "signers"
        return f"manifest/{folder}/{self.index:06d}.json"


@dataclass(frozen=True)
class DatasetOptions:
    """What a data set is made of; the same options give the same bytes.

    Raises:
        PgpisError: A value is out of range.
    """

    people: int
    """Number of people; in the phoenix layout, of signers with a sequence each, at least 3."""
    views: int = 5
    """Pictures a person in the deepfashion layout: front, side, back, upper body, walking and so on; after the eighth
    the kinds repeat in other poses."""
    size: tuple[int, int] = (256, 176)
    """Their height and width, of which the command draws 256x176 and 512x352; the phoenix layout has always 260x210."""
    layout: Literal["deepfashion", "phoenix", "both"] = "deepfashion"
    """Which layouts are written."""
    seed: int = 0
    """Seed of everything; the same seed gives the same bytes."""
    frames: int = 32
    """Length of a signer's sequence."""
    test_share: float = 0.2
    """Share of the people that only the test lists hold; in the phoenix layout half of them are in dev."""
    hidden_points: HiddenPoints = "limbs"
    """Which hidden points the ``pose`` files give: those of limbs, as OpenPose guesses them, all or none."""
    textures: Textures = "exact"
    """Which UV textures there are, which MCLD reads and FPDM does not: ``exact`` the person's whole one, ``seen`` what
    the picture shows, made by the published procedure (half a second each), or ``none``."""
    inpaint: Inpainting = "exact"
    """How ``seen`` textures fill the holes between what is seen: as published, or ``fast``, with other colours
    there."""
    look: Look = "drawn"
    """How people of the deepfashion layout look: ``drawn`` cleanly, or as on a ``photo``, with rooms, prints, noise,
    JPEG, cuts of the frame, wider clothes and longer hair; this needs scikit-image, whose photographs it uses.
    ``mixed``: half of the people."""
    misaligned: float = 0.0
    """Share of the deepfashion layout's pictures that another camera frames: half a body, nearer, farther, or cut, so
    that source and target differ in that."""

    def __post_init__(self) -> None:
        check_range("--people", self.people, 2, 10**6, whole=True)
        if self.layout != "deepfashion" and self.people < LEAST_SIGNERS:
            reason = f"--people is {self.people}, expected at least {LEAST_SIGNERS} with --layout {self.layout}"
            raise PgpisError(reason, hint="one for each of train, dev and test")
        check_range("--views", self.views, 2, MOST_VIEWS, whole=True)
        check_range("--frames", self.frames, 1, 9999, whole=True)
        check_range("--seed", self.seed, 0, 2**32 - 1, whole=True)
        check_range("--misaligned", self.misaligned, 0, 1)
        if not 0 < self.test_share <= MOST_TEST_SHARE:
            raise PgpisError(f"--test-share {self.test_share}: expected a share above 0, up to {MOST_TEST_SHARE}")

    def units(self) -> list[Unit]:
        """Return everything that is to be drawn, people first."""
        units = []
        if self.layout in ("deepfashion", "both"):
            units += [Unit("person", index, self.views) for index in range(self.people)]
        if self.layout in ("phoenix", "both"):
            units += [Unit("signer", index, self.frames) for index in range(self.people)]
        return units

    def split(self, unit: Unit) -> str:
        """Return the list that a person belongs to; it does not change when people are added.

        Person 0 is in test; in the phoenix layout signer 1 is in dev.
        """
        if unit.kind == "person":
            return "test" if _chosen(unit.index, self.test_share) else "train"
        if _chosen(unit.index, self.test_share / 2):
            return "test"
        return "dev" if _chosen(unit.index - 1, self.test_share / 2) else "train"


def is_photographed(look: Look, person: int) -> bool:
    """Return whether a person looks photographed: of ``mixed`` people those whose number has an odd count of ones.

    That goes on without end, and with no period that a share of the people could fall in with: both looks are in both
    lists (Thue and Morse).
    """
    return look == "photo" or (look == "mixed" and person.bit_count() % 2 == 1)


def _chosen(index: int, share: float) -> bool:
    """Choose a share of the numbers 0, 1, 2, … evenly, 0 among them."""
    return index >= 0 and math.ceil(round((index + 1) * share, 9)) > math.ceil(round(index * share, 9))

"""DeepFashion In-shop, in any layout that :mod:`pgpis.data.layouts` knows."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Literal

from PIL import Image

from pgpis.data.layouts import LayoutName, Split, layouts_of
from pgpis.data.layouts.found import FoundFiles
from pgpis.data.missing import OnMissing
from pgpis.data.names import PathText, garment_of, pair_name
from pgpis.data.pair import Aim, Pair, Person, by_pose, content_of
from pgpis.data.pairs import PairDataset
from pgpis.errors import PgpisError, check_range
from pgpis.files import is_file
from pgpis.pictures.keypoints import Keypoints
from pgpis.pictures.kinds import Role, conditions

log = logging.getLogger(__name__)


class DeepFashion(PairDataset):
    """Pairs of one split.

    The list of pairs is that of one layout; key points, drawings, DensePose maps, textures and faces are taken from
    the first layout that holds them. Validation reads a validation list where you made one, else the test list: nobody
    published a validation split. In both, a pair that is listed again counts once.

    Args:
        root: Folder of the data set.
        split: Which list.
        layout: Whose list and pictures are read: ``fpdm``, ``mcld``, ``patn``, ``nted``, ``pcdm``, or ``auto`` for the
            first that has this list, and pictures.
        pose: ``keypoints`` draws the pose from its key points, in testing as in training. ``drawn`` takes the
            picture in ``pose_img``, as FPDM's official test does: its limbs are half as thick as those in training.
            Such a pose is neither moved nor mirrored by the training augmentation.
        max_pairs: Take only the first pairs of the list.
        self_pair_probability: Share of training pairs whose target picture also serves as source.
        on_missing: What happens where a face, texture or DensePose map does not exist that the model reads.
        most_sources: Up to so many pictures are sources of a pair: the source, and others of the same garment (the same
            ``id_00003372/03``; of other names the same folder) that the lists name, but never the target. In training a
            random number of random ones; else the first ones by name.
    """

    def __init__(
        self,
        root: PathText,
        split: Split = "train",
        layout: Literal["auto"] | LayoutName = "auto",
        pose: Literal["keypoints", "drawn"] = "keypoints",
        max_pairs: int | None = None,
        self_pair_probability: float = 0.05,
        on_missing: OnMissing = OnMissing(),  # noqa: B008  frozen
        most_sources: int = 1,
    ) -> None:
        self_pairs = self_pair_probability if split == "train" else 0.0
        super().__init__(self_pairs, on_missing=on_missing, most_sources=most_sources)
        check_range("max_pairs", max_pairs, 1, whole=True, optional=True)
        self.root = Path(root)
        self.split = split
        self.layout = layout
        self.pose = pose
        self.max_pairs = max_pairs
        self._keys: dict[Path, str] = {}
        self._of_garment: dict[str, list[Path]] = {}

    @property
    def places(self) -> tuple[Path, ...]:
        """The root; see ``PairDataset.places``."""
        return (self.root,)

    def read_pairs(self) -> list[Pair]:
        """Read the list of the split; a path in it may not leave the root, nor two pictures differ in suffix alone."""
        self._layouts = layouts_of(self.root, self.split, self.layout)
        self.list_layout = self._layouts[0].name
        listed = self._layouts[0].distinct_pairs()
        if self.split != "train" and (doubled := len(listed) - len(once := [*dict.fromkeys(listed)])):
            log.warning("%s: %d pairs are listed again; each counts once", self._layouts[0].list_path, doubled)
            listed = once
        keys = listed[: self.max_pairs]
        if not keys:
            raise PgpisError(f"{self._layouts[0].list_path} names no pairs", hint=f"pgpis data check {self.root}")
        self._found = FoundFiles(self._layouts)
        person, aim = cache(self._person), cache(self._aim)
        pairs = [Pair(pair_name(source, target), person(source), aim(target)) for source, target in keys]
        if self.most_sources == 1:
            return pairs
        for key in sorted({key for pair in listed for key in pair}):
            self._of_garment.setdefault(garment_of(key), []).append(self._picture(key))
        if not any(map(self.others_of, pairs)):
            text = "most_sources is %d, but %s names no further picture of a source, which its folder would tell"
            log.warning(text, self.most_sources, self._layouts[0].list_path)
        if self.split == "train":
            return pairs  # drawn anew for each step
        return [self.with_sources(pair, self.others_of(pair)[: self.most_sources - 1]) for pair in pairs]

    def require(self, origins: Collection[str]) -> None:
        """Look for what a model reads, see ``PairDataset.require``, and for any pose at all.

        Raises:
            PgpisError: Files are missing that may not be, or no pair has the pose that is read.
        """
        super().require(origins)
        if "pose" in origins and not any(pair.pose and is_file(pair.pose) for pair in by_pose(self.pairs)):
            what = "drawn poses" if self.pose == "drawn" else "key points"
            hint = "pose: keypoints" if self.pose == "drawn" else f"pgpis prepare {self.root} --conditions pose"
            raise PgpisError(f"no pair has {what}: {self.pairs[0].pose or self.root}", hint=hint)

    def others_of(self, pair: Pair) -> list[Path]:
        """Return the other pictures of the source's garment, by name."""
        own = self._of_garment[garment_of(self._keys[pair.source])]
        return [picture for picture in own if picture not in (pair.source, pair.target)]

    def _person(self, key: str) -> Person:
        picture = self._picture(key)
        return Person(picture, self.made_of(picture, "source"))

    def _aim(self, key: str) -> Aim:
        picture = self._picture(key)
        pose = self._found.path(key, "drawn" if self.pose == "drawn" else "keypoints")
        return Aim(pose, picture, self.made_of(picture, "target"))

    def _picture(self, key: str) -> Path:
        picture = self._layouts[0].path(key, "picture")
        self._keys[picture] = key
        return picture

    def made_of(self, picture: Path, role: Role) -> dict[str, Path | None]:
        """Return where the conditions of a picture are."""
        key = self._keys[picture]
        return {kind.name: self._found.path(key, kind.name) for kind in conditions() if kind.of == role}

    def read_pose(self, pair: Pair) -> Keypoints | Image.Image:
        """Read the pose, from a table where the layout keeps key points in one."""
        return self._points(pair) or super().read_pose(pair)

    def pose_content(self, pair: Pair) -> str:
        """Identify the key points of a table, or the file."""
        points = self._points(pair)
        return super().pose_content(pair) if points is None else content_of(points)

    def _points(self, pair: Pair) -> Keypoints | None:
        if self.pose != "keypoints" or pair.target is None:
            return None
        key = self._keys[pair.target]
        layout = self._found.layout(key, "keypoints")
        return None if layout is None else layout.points(key)

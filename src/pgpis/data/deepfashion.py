"""DeepFashion In-shop in the layout that FPDM reads: ``img/ pose/ pose_img/`` and lists of pairs."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pgpis.data.names import pair_name
from pgpis.data.pairs import Pair, PairDataset
from pgpis.errors import PgpisError

Split = Literal["train", "val", "test"]


class DeepFashion(PairDataset):
    """Pairs of one split.

    ``ROOT/{split}_pairs_data.json`` is a list of ``{"source_image", "target_image"}`` with paths like
    ``./img/WOMEN/Shorts/id_00005138/03_4_full.jpg``; the key points of that picture are ``pose/WOMEN/….txt``, its drawn
    skeleton ``pose_img/WOMEN/….jpg``. Validation reads ``val_pairs_data.json`` where you made one, else the test list:
    nobody published a validation split.

    Args:
        root: Folder that holds ``img``, ``pose``, ``pose_img`` and the lists.
        split: Which list.
        pose: ``keypoints`` draws the pose from its key points, in testing as in training. ``drawn`` takes the
            picture in ``pose_img``, as the official test does: its limbs are half as thick as those seen in training.
            Such a pose is neither moved nor mirrored by the training augmentation.
        max_pairs: Take only the first pairs of the list.
        self_pair_probability: Share of training pairs whose target picture also serves as source.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: Split = "train",
        pose: Literal["keypoints", "drawn"] = "keypoints",
        max_pairs: int | None = None,
        self_pair_probability: float = 0.05,
    ) -> None:
        super().__init__(self_pair_probability if split == "train" else 0.0)
        self.root = Path(root)
        self.split = split
        self.pose = pose
        self.max_pairs = max_pairs

    def read_pairs(self) -> list[Pair]:
        """Read the list of the split.

        Raises:
            PgpisError: The root or the list is missing, malformed, empty, or a path in it leaves the root.
        """
        hint = f"pgpis data check {self.root}"
        if not self.root.is_dir():
            raise PgpisError(
                f"DeepFashion folder not found: {self.root}", hint="set data.*.init_args.root to your folder"
            )
        path = list_path(self.root, self.split)
        entries = read_pair_list(path)[: self.max_pairs]
        if not entries:
            raise PgpisError(f"{path} names no pairs", hint=hint)
        return [self._pair(source, target) for source, target in entries]

    def _pair(self, source: PurePosixPath, target: PurePosixPath) -> Pair:
        pose = drawn_path(target) if self.pose == "drawn" else keypoint_path(target)
        pair_id = pair_name(tree_name(source), tree_name(target))
        return Pair(pair_id, self.root / source, self.root / pose, self.root / target)


def list_path(root: Path, split: Split) -> Path:
    """Return the list of a split; the test list stands in for a missing validation list."""
    path = root / f"{split}_pairs_data.json"
    return root / "test_pairs_data.json" if split == "val" and not path.is_file() else path


def read_pair_list(path: Path) -> list[tuple[PurePosixPath, PurePosixPath]]:
    """Read source and target of each pair, relative to the folder of the list.

    Raises:
        PgpisError: The list is missing or malformed, or a path leaves the folder.
    """
    hint = f"pgpis data check {path.parent}"
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise PgpisError(f"list of pairs not found: {path}", hint=hint) from None
    except (OSError, ValueError) as error:
        raise PgpisError(f"cannot read the list of pairs {path}: {error}", hint=hint) from error
    if not isinstance(content, list):
        raise PgpisError(f'{path}: expected a list of {{"source_image": ..., "target_image": ...}}', hint=hint)
    return [
        (_inside(path, number, entry, "source_image"), _inside(path, number, entry, "target_image"))
        for number, entry in enumerate(content)
    ]


def _inside(path: Path, number: int, entry: Any, key: str) -> PurePosixPath:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str):
        raise PgpisError(f"{path}: pair {number} has no '{key}'")
    name = PurePosixPath(value.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or len(name.parts) < 2 or name.parts[0] != "img":
        raise PgpisError(f"{path}: pair {number}: '{value}' is not of the form './img/...'")
    return name


def tree_name(image: PurePosixPath) -> str:
    """``img/WOMEN/…/03_4_full.jpg`` to ``WOMEN/…/03_4_full.jpg``."""
    return "/".join(image.parts[1:])


def keypoint_path(image: PurePosixPath) -> PurePosixPath:
    """``img/….jpg`` to ``pose/….txt``."""
    return PurePosixPath("pose", *image.parts[1:]).with_suffix(".txt")


def drawn_path(image: PurePosixPath) -> PurePosixPath:
    """``img/….jpg`` to ``pose_img/….jpg``."""
    return PurePosixPath("pose_img", *image.parts[1:])

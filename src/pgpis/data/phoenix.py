"""RWTH-PHOENIX-Weather 2014T: pairs of frames of a signer, with MSKA's whole-body key points."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from functools import cache
from itertools import accumulate
from pathlib import Path

import numpy as np
from PIL import Image

from pgpis.data.layouts.base import Split
from pgpis.data.missing import OnMissing
from pgpis.data.mska import KeypointFile, kept_or_passing
from pgpis.data.names import PathText
from pgpis.data.pair import Aim, Pair, Person, content_of
from pgpis.data.pairs import PairDataset
from pgpis.data.tables import csv_text, read_rows, read_text
from pgpis.errors import PgpisError, check_range, manual
from pgpis.pictures.keypoints import Frame, Keypoints
from pgpis.pictures.kinds import Kind, Role, conditions, kind_of
from pgpis.pictures.plausibility import person_of

Frames = tuple[str, int]
"""Name of a video and number of a frame, from 1."""
RELEASE = Path("PHOENIX-2014-T-release-v3/PHOENIX-2014-T")
FRAME = Frame(260, 210, name="Phoenix")
SPLITS: dict[Split, str] = {"train": "train", "val": "dev", "test": "test"}


class Phoenix14T(PairDataset):
    """Pairs within videos: in training drawn at random, else from the first frame to every frame.

    Training pairs are drawn once from ``pairs_seed`` and stored in
    ``ROOT/pgpis-pairs-train-COUNT-SEED-VIDEOS.csv``; VIDEOS is a hash of the videos that they were drawn from. Where
    nothing can be written, the same pairs are drawn for each run.

    Args:
        root: Folder that holds ``PHOENIX-2014-T-release-v3`` and MSKA's ``Phoenix-2014T.{train,dev,test}``; or the
            release's own folder, with the key points in it or beside it.
        split: ``train``, ``val`` (the release's dev videos) or ``test``.
        train_pairs: How many pairs are drawn for training.
        pairs_seed: Seed of that draw.
        max_pairs: Take only the first pairs.
        videos: Take only these videos.
        on_missing: What happens where a face, texture or DensePose map does not exist that the model reads. They lie
            beside the frames: ``features/densepose-210x260px``, ``texture-210x260px``, ``face-210x260px``.

    Source: FPDM, section "Datasets": 100,000 training pairs; 64,627 test pairs, first frame to every frame.
    """

    def __init__(
        self,
        root: PathText,
        split: Split = "train",
        train_pairs: int = 100_000,
        pairs_seed: int = 0,
        max_pairs: int | None = None,
        videos: tuple[str, ...] = (),
        on_missing: OnMissing = OnMissing(),  # noqa: B008  frozen
    ) -> None:
        super().__init__(on_missing=on_missing)
        check_range("max_pairs", max_pairs, 1, whole=True, optional=True)
        check_range("train_pairs", train_pairs, 1, whole=True)
        check_range("pairs_seed", pairs_seed, 0, whole=True)
        self.root = Path(root)
        self.split = split
        self.train_pairs = train_pairs
        self.pairs_seed = pairs_seed
        self.max_pairs = max_pairs
        self.videos = videos

    def read_pairs(self) -> list[Pair]:
        """Read the table of videos and their lengths."""
        release = find_release(self.root)
        if release is None:
            raise PgpisError(
                f"no release of RWTH-PHOENIX-Weather 2014T in {self.root}; expected {RELEASE}/annotations/manual",
                hint=f"see {manual('data/phoenix')}",
            )
        self.release = release
        names = read_corpus(corpus_path(self.release, SPLITS[self.split]))
        self.keypoints = KeypointFile(self.keypoints_path(self.release))
        unknown = [name for name in self.videos if name not in names]
        if unknown:
            raise PgpisError(f"video not found: '{unknown[0]}' is not in the {self.split} list of {self.release}")
        names = [name for name in names if not self.videos or name in self.videos]
        for name in names:
            if name not in self.keypoints.lengths:
                raise PgpisError(
                    f"{self.keypoints.path} has no key points of the video '{name}'",
                    hint=f"MSKA's Phoenix-2014T.{SPLITS[self.split]} of this release; pgpis data check {self.root}",
                )
        lengths = {name: self.keypoints.lengths[name] for name in names}
        if self.split == "train":
            pairs = self._training_pairs(lengths)
        else:
            pairs = [((name, 1), (name, number)) for name, length in lengths.items() for number in range(1, length + 1)]
        person, aim = cache(self._person), cache(self._aim)
        return [
            Pair(f"{source[0]}_{source[1]:04d}_2_{target[1]:04d}", person(source), aim(target))
            for source, target in pairs[: self.max_pairs]
        ]

    @property
    def places(self) -> tuple[Path, ...]:
        """The root; see ``PairDataset.places``."""
        return (self.root,)

    def keypoints_path(self, release: Path) -> Path:
        """Return where MSKA's key points are, in the root, in the release or beside it."""
        name = f"Phoenix-2014T.{SPLITS[self.split]}"
        places = (self.root, release, release.parent, release.parent.parent)
        files = (place / f"{name}{ending}" for place in places for ending in ("", ".safetensors"))
        return next((path for path in files if path.is_file()), self.root / name).with_name(name)

    def _training_pairs(self, lengths: dict[str, int]) -> list[tuple[Frames, Frames]]:
        """Read the stored draw of these videos, or draw and store it."""
        path = self.root / f"pgpis-pairs-train-{self.train_pairs}-{self.pairs_seed}-{videos_id(lengths)}.csv"
        if not path.is_file():
            drawn = draw_pairs(lengths, self.train_pairs, self.pairs_seed)
            path = kept_or_passing(path, lambda file: file.write_bytes(drawn.encode()))
        pairs = []
        for number, fields in read_rows(path, "list of pairs", hint="remove it")[1:]:
            try:
                name, source, target = fields[0], int(fields[1]), int(fields[2])
            except (IndexError, ValueError) as error:
                raise PgpisError(f"{path} line {number}: expected name,source,target", hint="remove it") from error
            if not (0 < source <= lengths.get(name, 0) and 0 < target <= lengths[name]):
                raise PgpisError(f"{path} line {number}: no such frames in these videos", hint="remove it")
            pairs.append(((name, source), (name, target)))
        return pairs

    def _person(self, frame: Frames) -> Person:
        video = None if self.split == "train" else frame[0]
        return Person(self._file(kind_of("picture"), frame), self._made_of(frame, "source"), video=video)

    def _aim(self, frame: Frames) -> Aim:
        return Aim(self.keypoints.path, self._file(kind_of("picture"), frame), self._made_of(frame, "target"))

    def _made_of(self, frame: Frames, role: Role) -> dict[str, Path | None]:
        return {kind.name: self._file(kind, frame) for kind in conditions() if kind.of == role}

    def _file(self, kind: Kind, frame: Frames) -> Path:
        return frame_file(frames_of(self.release, kind) / SPLITS[self.split], *frame, kind.suffix)

    def read_pose(self, pair: Pair) -> Keypoints | Image.Image:
        """Return the 133 points of the target frame."""
        name, number = self._frame(pair)
        points = self.keypoints.read(name)[number - 1].astype(np.float64)
        visible = np.repeat(points[:, 2:] > 0, 2, axis=1)
        where = f"{self.keypoints.path}: {name}, frame {number}"
        return person_of(points[:, :2], visible, FRAME, "wholebody133", where)

    def pose_content(self, pair: Pair) -> str:
        """Identify the points of the target frame."""
        pose = self.read_pose(pair)
        assert isinstance(pose, Keypoints)
        return content_of(pose)

    def _frame(self, pair: Pair) -> Frames:
        assert pair.target is not None
        return pair.target.parent.name, int(pair.target.stem.removeprefix("images"))


def frames_of(release: Path, kind: Kind) -> Path:
    """Return the folder of the frames, or of what ``pgpis prepare`` makes of them."""
    name = "fullFrame" if kind.name == "picture" else kind.option
    return release / "features" / f"{name}-210x260px"


def frame_file(folder: Path, video: str, number: int, suffix: str | None) -> Path:
    """Return the file of one frame, below the folder of a split."""
    return folder / video / f"images{number:04d}{suffix or '.png'}"


def corpus_path(release: Path, split: str) -> Path:
    """Return the table of the videos of a split, as the release calls it."""
    return release / f"annotations/manual/PHOENIX-2014-T.{split}.corpus.csv"


def find_release(root: Path) -> Path | None:
    """Return the release's own folder, which a root is or holds; None: there is none."""
    candidates = (root, root / "PHOENIX-2014-T", root / RELEASE)
    return next((path for path in candidates if (path / "annotations/manual").is_dir()), None)


def read_corpus(path: Path) -> list[str]:
    """Read the names of videos from a table ``name|video|start|...``; frames are found by name, not by ``video``.

    Raises:
        PgpisError: It is missing or malformed, or a name leaves the folder.
    """
    lines = read_text(path, "table of videos", hint=f"see {manual('data/phoenix')}").splitlines()
    if not lines or lines[0].split("|")[0].strip() != "name":
        raise PgpisError(f"{path}: the first line must begin with 'name|video|'")
    names = [line.split("|")[0].strip() for line in lines[1:] if line.strip()]
    for number, name in enumerate(names, 2):
        if not name or Path(name).name != name or name in (".", ".."):
            raise PgpisError(f"{path} line {number}: '{name}' is not the name of a video")
    if not names:
        raise PgpisError(f"{path} names no videos")
    return names


def videos_id(lengths: dict[str, int]) -> str:
    """Return what tells videos, their order and their lengths from all others, in the name of a stored draw."""
    return hashlib.sha256(json.dumps(list(lengths.items())).encode()).hexdigest()[:8]


def draw_pairs(lengths: dict[str, int], count: int, seed: int) -> str:
    """Draw pairs of different frames of one video, every frame equally likely as source; return the table.

    Raises:
        PgpisError: No video has two frames.
    """
    names = [name for name, length in lengths.items() if length > 1]
    if not names:
        raise PgpisError("no video has two frames")
    ends = list(accumulate(lengths[name] for name in names))
    rng = np.random.default_rng(seed)
    rows: list[tuple[str | int, ...]] = [("name", "source", "target")]
    for place, shift in zip(rng.integers(0, ends[-1], count).tolist(), rng.random(count).tolist(), strict=True):
        video = bisect_right(ends, place)
        length = lengths[names[video]]
        source = place - (ends[video] - length)
        target = (source + 1 + int(shift * (length - 1))) % length
        rows.append((names[video], source + 1, target + 1))
    return csv_text(rows)

"""What the results of a pair are made of: by it a stale result is known, and a mark says what makes it again."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any

from pgpis.batch import Provenance
from pgpis.data.further import files_of_further
from pgpis.data.missing import OnMissing
from pgpis.data.pair import EDITED, LoadedPair, Pair
from pgpis.data.picture_store import content_hash
from pgpis.pictures.keypoint_files import exact_openpose
from pgpis.pictures.keypoints import Frame


class PairContents(ABC):
    """Base of data sets of pairs: identifies the content that each pair's results depend on."""

    anchored = False
    """Whether the results of a video's frames also depend on its first one."""
    pose_frame: Frame | None
    on_missing: OnMissing

    @property
    @abstractmethod
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs, in the order of their index."""

    @abstractmethod
    def map_of(self, picture: Path) -> Path | None:
        """Return where the DensePose map of a source is, by which textures of several are merged."""

    def fingerprint(self, index: int, origins: Collection[str]) -> str:
        """Return the hash of all that :meth:`load` reads but the target; empty where a part cannot be read."""
        pair = self.pairs[index]
        if pair.edit is not None and pair.edit.fault is not None:
            return ""
        content: dict[str, Any] = {}
        first = self._first_frames.get(pair.video or "", index) if self.anchored else index
        if first != index:
            content["first frame"] = self.fingerprint(first, origins)
        for origin in sorted({*origins} - {"target"}):
            parts = [self.pose_content(pair)] if origin == "pose" else [self.file_content(pair.file(origin))]
            if parts == [""] and self.on_missing.of(origin) == "drop":
                parts = ["dropped"]
            if origin in EDITED and pair.edit is not None:
                parts += [f"{numbers} {self.file_content(files[origin])}" for numbers, files in pair.edit.clothes]
                parts += [] if pair.edit.identity is None else [self.file_content(pair.edit.identity[origin])]
            if "" in parts:
                return ""
            content[origin] = parts
        for name, path in files_of_further(pair, origins, self.map_of).items():
            content[name] = [self.file_content(path)]
            if content[name] == [""] and self.on_missing.of(name.rpartition("_")[0]) != "drop":
                return ""
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def file_content(self, path: Path | None) -> str:
        """Identify the content of a file; empty where there is none."""
        return content_hash(path)

    def pose_content(self, pair: Pair) -> str:
        """Identify what :meth:`read_pose` reads; empty where there is nothing."""
        content = content_hash(pair.pose)
        return content and f"{content} {self.pose_frame}"

    def provenance(self, loaded: LoadedPair, origins: Collection[str]) -> Provenance:
        """Say what the results of a pair are made of.

        Args:
            loaded: What :meth:`load` returned for it.
            origins: What it was asked for.
        """
        pair, keypoints = loaded.pair, loaded.keypoints
        files = {origin: pair.file(origin) for origin in {*origins} - {"target", "pose"} - {*loaded.dropped}}
        if "pose" in origins and keypoints is None:
            files["pose"] = pair.pose
        files |= files_of_further(pair, origins, self.map_of)
        kinds = [kind for kind in EDITED if kind in origins]
        swaps = () if pair.edit is None else pair.edit.swaps
        return {
            "files": {origin: self.digest(path) for origin, path in sorted(files.items())},
            "pose": None if keypoints is None else exact_openpose(keypoints),
            "dropped": sorted(loaded.dropped),
            "edit": [[list(parts), {kind: self.digest(made.get(kind)) for kind in kinds}] for parts, made in swaps],
            "tools": {},
        }

    def digest(self, path: Path | None) -> str:
        """Identify a file by its content alone, whatever it is called."""
        return content_hash(path)

    @cached_property
    def _first_frames(self) -> dict[str, int]:
        """Position of the first frame by video."""
        return {pair.video: index for index, pair in reversed([*enumerate(self.pairs)]) if pair.video is not None}

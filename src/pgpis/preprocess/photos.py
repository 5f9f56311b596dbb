"""Pairs of plain photographs, or of these and key points: what the model reads besides is made of them."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pgpis.batch import Provenance
from pgpis.data.edits import EditRequest
from pgpis.data.folder import FolderPairs
from pgpis.data.further import sources_read
from pgpis.data.names import PathText
from pgpis.data.pair import Edit, LoadedPair, Pair, by_pose, by_source
from pgpis.data.picture_store import content_hash, picture_exists
from pgpis.data.prepared import is_current
from pgpis.errors import PgpisError, error_of
from pgpis.files import file_name, passing_folder, printable
from pgpis.pictures.containers import is_video
from pgpis.pictures.images import IMAGE_SUFFIXES, save_image
from pgpis.pictures.iuv import iuv_pixels
from pgpis.pictures.keypoint_files import exact_openpose, read_keypoints
from pgpis.pictures.keypoints import Keypoints
from pgpis.pictures.kinds import Kind, Role, conditions, kind_of
from pgpis.pictures.plausibility import check_keypoints
from pgpis.pictures.retarget import retarget
from pgpis.pictures.videos import extract_frames
from pgpis.preprocess.outline import STYLE
from pgpis.preprocess.record import NAME, Record
from pgpis.preprocess.run import prepare, run_here
from pgpis.preprocess.settings import PERSON_HINT, PictureFiles, PrepareSettings, refuse_idle
from pgpis.preprocess.stages import require_weights

log = logging.getLogger(__name__)

DIGITS = 16  # of the hash of a picture's content and the tools, in the names of what is made of it


class PhotoPairs(FolderPairs):
    """Pairs whose textures, faces, DensePose maps and poses are made by the stages of ``pgpis prepare`` where missing.

    Where poses are key points, their maps are estimates, see :func:`pgpis.preprocess.lifter.map_of_points`.

    Args:
        sources: See ``FolderPairs``, as all that is not named here.
        poses: See ``FolderPairs``.
        driving: Whether ``poses`` are photographs of people in the poses, or one video; else as for ``FolderPairs``.
        retarget: Give driving poses the limb lengths of the source; for models that read key points.
        settings: With which tools.
        chosen: Names of the settings that are refused where nothing depends on them.
        save_conditions: Folder that keeps what is made, and is used again; None: a temporary one.
        every: Of a driving video take the first of so many frames.
        pairs: Arguments of ``FolderPairs``. A texture or face that is there is taken, not made.
    """

    def __init__(
        self,
        sources: PathText,
        poses: PathText,
        *,
        driving: bool = True,
        retarget: bool = False,
        settings: PrepareSettings = PrepareSettings(),  # noqa: B008  frozen
        chosen: Sequence[str] = (),
        save_conditions: PathText | None = None,
        every: int = 1,
        **pairs: Any,
    ) -> None:
        super().__init__(sources, poses, **pairs)
        if retarget and not driving:
            raise PgpisError("--retarget needs the poses of photographs", hint="--driving FOLDER in place of --poses")
        if settings.skeleton != "body18" and retarget:
            raise PgpisError("--retarget works on 18 body points", hint="leave --prepare-skeleton out")
        self.driving, self.retarget = driving, retarget
        if driving:
            self.pose_files, self.pose_suffixes = "one video, or driving photographs", IMAGE_SUFFIXES
        self.settings = settings
        self.chosen = chosen
        self.save_conditions = None if save_conditions is None else Path(save_conditions)
        self.every = every
        self._video = self.poses if driving and is_video(self.poses) else None
        self.frames = self.frames or self._video is not None
        self._reasons: dict[Path, str] = {}
        self._lenders: list[Path] = []
        """Pictures of which edits take something."""
        self._key_points: dict[Path, Path] = {}
        """Of which key points a map is, or is to be, made."""

    def read_pairs(self) -> list[Pair]:
        """Read the pairs; see ``FolderPairs.read_pairs``. The frames of a video become pictures first."""
        if self._video is not None:
            name = file_name(self._video.stem, f"-{content_hash(self._video)[:16]}-{self.every}")
            frames = extract_frames(self._video, self._conditions / "frames" / name, self.every)
            self.poses, self.frames_per_second = frames.folder, frames.frames_per_second
        return super().read_pairs()

    def require(self, origins: Collection[str]) -> None:
        """Make what the model reads and is missing, then look for it as ``FolderPairs`` does.

        Raises:
            PgpisError: Weights or packages are missing that are needed for it.
        """
        self.refuse_unread(origins)
        if self.retarget and "pose" not in origins:
            raise PgpisError("retarget moves key points, and this model reads none")
        kinds = [*filter(self._makes, conditions(origins))]
        made = [kind.option for kind in kinds if self.driving or kind.of == "source"]
        refuse_idle(self.chosen, made + ["pose"] * (self.driving and "pose" in origins), "--prepare-")
        lacking: list[tuple[str, list[Path]]] = []
        poses = [Path(str(pair.pose)) for pair in by_pose(self.pairs)] if self.driving else []
        pairs = by_source(self.pairs)
        if "pose" in origins:
            lacking.append(("pose", poses + [pair.source for pair in pairs if self.retarget]))
        for kind in kinds:
            read = {own.picture: own.conditions.get(kind.name) for own in self.sources_read(kind)}
            sources = [picture for picture, path in read.items() if not is_current(kind.name, path)]
            sources += [path for path in self._lenders if kind.name == "surface"]
            lacking.append((kind.option, poses if kind.of == "target" else sources))
        if {"texture", "surface"} & {*origins}:
            several = [own.picture for pair in pairs if pair.further for own in pair.sources]
            lacking.append(("densepose", [path for path in several if not is_current("iuv", self.map_of(path))]))
        chains = [kind_of(condition).chain for condition, pictures in lacking if self._todo(pictures, condition)]
        require_weights([condition for chain in chains for condition in chain], self.settings)
        for condition, pictures in lacking:
            self._make(pictures, condition)
        if "iuv" in origins:
            self._draw_maps()
        super().require(origins)

    def map_of(self, picture: Path) -> Path | None:
        """Take the map that lies beside a source's folder, else the one that is made."""
        path = super().map_of(picture)
        return path if is_current("iuv", path) else self._place(str(picture), "densepose")

    def _makes(self, kind: Kind) -> bool:
        """Whether there are tools for a kind; none for the faces that a model of ``pgpis synth`` knows."""
        return kind.settings is not None and (kind.name != "face" or self.on_missing.face_space == "recogniser")

    def read_pose(self, pair: Pair) -> Keypoints | Image.Image:
        """Read the key points that were found in the driving picture, on the source's body if that is asked for."""
        if not self.driving:
            return super().read_pose(pair)
        driving = self._points(str(pair.pose))
        if not self.retarget:
            return driving
        return check_keypoints(retarget(driving, self._points(str(pair.source))), f"{pair.pose} on another body")

    def _pairs_by_pose(self) -> Iterable[Pair]:
        """Return all pairs where the pose also depends on the source."""
        return self.pairs if self.retarget else super()._pairs_by_pose()

    def _points(self, picture: str) -> Keypoints:
        path = self._place(picture, "pose")
        if path in self._reasons:
            raise error_of(f"no key points of {picture}: {self._reasons[path]}")
        return read_keypoints(path)

    def made_of(self, picture: Path, role: Role) -> dict[str, Path | None]:
        """Take the files that lie beside a picture, else those that are made; of a driving picture all are made."""
        files = super().made_of(picture, role)
        if role == "target" and not self.driving:
            if picture.suffix.lower() not in IMAGE_SUFFIXES and not is_current("iuv", files["iuv"]):
                place = files["iuv"] = self._place(str(picture), "densepose", f"{self.pose_frame} {STYLE}")
                self._key_points[place] = picture
            return files
        missing = conditions(name for name, path in files.items() if role == "target" or not is_current(name, path))
        return files | {kind.name: self._place(str(picture), kind.option) for kind in missing if self._makes(kind)}

    def _edit(self, request: EditRequest | None) -> Edit | None:
        """Make what an edit takes from other pictures, which is needed to list the pairs."""
        if request is not None:
            pictures = [path for name in request.lenders if picture_exists(path := self._place_of(name))]
            textures = {path: self.made_of(path, "source")["texture"] for path in pictures}
            self._make([path for path in pictures if not is_current("texture", textures[path])], "texture")
            if request.identity is not None and self._makes(kind_of("face")):
                self._make([self._place_of(request.identity)], "face")
            self._lenders += [path for path in pictures if is_current("texture", textures[path])]
        return super()._edit(request)

    def _needed(self, kind: str, path: Path | None, edit: str) -> None:
        if path in self._reasons:
            raise error_of(f"{edit}: no {kind_of(kind).what}: {self._reasons[path]}")
        super()._needed(kind, path, edit)

    def _refused(self, kind: Kind, missing: Sequence[Pair]) -> str | None:
        """Say why nothing at all could be made."""
        reasons = [self._reasons.get(pair.file(kind.name) or Path()) for pair in missing]
        if self.on_missing.of(kind.name) == "error" and len(missing) == len(self.pairs) and all(reasons):
            return f"no pair has a {kind.what}; {missing[0].pair_id}: {reasons[0]}"
        return super()._refused(kind, missing)

    def hint(self, *kinds: Kind) -> str:
        """See ``PairDataset.hint``; what can be made of key points is made already."""
        return self.on_missing.hint(*(kind.name for kind in kinds))

    def _existing(self, pair: Pair, origin: str) -> Path | None:
        """Say why a file could not be made."""
        path = pair.file(origin)
        if path in self._reasons and self.on_missing.of(origin) != "drop":
            kind = kind_of(origin)
            of_which = f" of {pair.source}" if kind.of == "source" else ""  # there may be several
            raise error_of(f"no {kind.what}{of_which}: {self._reasons[path]}")
        return super()._existing(pair, origin)

    def _make(self, pictures: Iterable[Path], condition: str) -> None:
        """Make one kind of file of some pictures in this process."""
        pictures, chain = [*pictures], kind_of(condition).chain
        record, files = Record(self._conditions / NAME), self._todo(pictures, condition)
        if files:
            log.info("making %s of %d photographs", " and ".join(chain), len(files))
            for outcome in prepare(files, chain, self.settings.settled(), record, run_here).failures:
                hint = PERSON_HINT if self.driving and "--person" in str(outcome.reason) else ""
                self._reasons[self._place(outcome.name, outcome.condition)] = f"{outcome.reason}{hint}"
        for option in chain:
            record.tell_doubts(pictures, option, self.settings.own(option))

    def _draw_maps(self) -> None:
        """Make the maps of poses that are nothing but key points."""
        from pgpis.preprocess.lifter import map_of_points  # loads a net

        missing = {place: pose for place, pose in self._key_points.items() if not place.is_file()}
        if missing:
            log.info("drawing DensePose maps of %d poses from key points: estimates for an average body", len(missing))
        for place, pose in missing.items():
            try:
                iuv = map_of_points(read_keypoints(pose, self.pose_frame))
            except PgpisError as error:
                name = "" if str(pose) in error.message else f"{pose}: "
                self._reasons[place] = f"{name}{error}"
            else:
                save_image(Image.fromarray(iuv_pixels(iuv)), place)

    def _todo(self, pictures: Iterable[Path], condition: str) -> list[PictureFiles]:
        chain = kind_of(condition).chain
        return [
            PictureFiles(str(path), path, tuple((kind, self._place(str(path), kind)) for kind in chain))
            for path in dict.fromkeys(pictures)
            if not self._place(str(path), condition).is_file()
        ]

    def _place(self, picture: str, condition: str, tools: str = "") -> Path:
        """Return where a condition of a picture is kept; the name changes with the picture's content and the tools."""
        path = Path(picture)
        stamp = f"{content_hash(path) or printable(str(path.absolute()))} {tools or self.settings.tools(condition)}"
        digits = hashlib.sha256(stamp.encode()).hexdigest()[:DIGITS]
        cut = file_name(path.stem, f"-{digits}{kind_of(condition).photo_suffix}")
        return self._conditions / condition / cut

    def _is_made(self, path: Path | None) -> bool:
        return path is not None and self._conditions in path.parents

    def file_content(self, path: Path | None) -> str:
        """Identify a file that is made of a photograph by its name; nets may give other last bits the next time."""
        if path is not None and self._is_made(path):
            return path.name if path.is_file() else ""
        return super().file_content(path)

    def digest(self, path: Path | None) -> str:
        """Identify a file that is made of a photograph by that and the tools, which is how its name ends."""
        return path.stem[-DIGITS:] if path is not None and self._is_made(path) else super().digest(path)

    def provenance(self, loaded: LoadedPair, origins: Collection[str]) -> Provenance:
        """Say also what was made, and how; of a map that is drawn from key points, these."""
        provenance = super().provenance(loaded, origins)
        files = provenance["files"]
        sources = [loaded.pair, *(other.pair for other in loaded.further)]
        made = [
            kind.option
            for kind in conditions(files)
            if any(self._is_made(own.file(kind.name)) for own in sources_read(kind.name, sources))
        ]
        if self.driving and "pose" in origins:
            made.append("pose")
        drawn = self._key_points.get(loaded.pair.file("iuv") or Path())
        if drawn is not None and "iuv" in files:
            provenance["pose"] = exact_openpose(read_keypoints(drawn, self.pose_frame))
            del files["iuv"]
        choices: dict[str, object] = {"retarget": True} if self.retarget else {}
        choices |= {name: value for option in made for name, value in self.settings.choices(option).items()}
        plain = {name: value for name, value in choices.items() if not isinstance(value, Path | None)}
        return {**provenance, "tools": {"made": made, **plain} if made else {}}

    def pose_content(self, pair: Pair) -> str:
        """Identify the key points that were found in photographs."""
        if not self.driving:
            return super().pose_content(pair)
        pictures = [pair.pose, pair.source] if self.retarget else [pair.pose]
        files = [self.file_content(self._place(str(picture), "pose")) for picture in pictures]
        return "" if "" in files else f"{files} retargeted" if self.retarget else str(files)

    @functools.cached_property
    def _conditions(self) -> Path:
        return self.save_conditions or passing_folder("pgpis-conditions-")

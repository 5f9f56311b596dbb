"""A user's own pictures and poses: two folders, or a CSV that pairs them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from pgpis.data.edits import EditRequest, distinct, edit_name, merged
from pgpis.data.further import sources_read
from pgpis.data.listed import POSE_SUFFIXES, Listed, every_combination, listed_in_table, one_by_one
from pgpis.data.missing import OnMissing
from pgpis.data.names import PathText
from pgpis.data.pair import Aim, Edit, LoadedPair, Pair, Person, Source, by_pose, by_source
from pgpis.data.pairs import PairDataset
from pgpis.data.picture_store import picture_exists
from pgpis.data.prepared import refuse_stale_files
from pgpis.data.user_files import (
    beside,
    find_file,
    folders_of,
    list_files,
    pair_by_stem,
    people_in,
    real_folder,
    refuse_shared,
    short_names,
)
from pgpis.errors import PgpisError, refuse_if_all_fail
from pgpis.files import is_file, printable
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.pictures.keypoints import Frame
from pgpis.pictures.kinds import Kind, Role, conditions, kind_of
from pgpis.pictures.uv_texture import parts_of


class FolderPairs(PairDataset):
    """Pairs of source pictures and poses in folders.

    A pose is an 18-line or 133-line ``.txt``, an OpenPose ``.json``, a 133-point ``.npy``, a picture of a drawn
    skeleton, or a DensePose map as ``.png`` for models that read one. The result of a pair is called ``SOURCE_2_POSE``,
    after the two files without their suffixes; where two files share that name, their suffix or folder is kept.

    Textures and faces of ``photos/anna.jpg`` are ``photos_texture/anna.png`` and ``photos_face/anna.npy``; the
    DensePose map of a pose file ``poses/walk.txt`` is ``poses_densepose/walk.png``.

    Where sources are listed by person, ``people/anna/1.jpg`` and ``people/anna/2.jpg`` are sources of the same pairs,
    ``anna_2_walk`` for example, and their textures are ``people_texture/anna/1.png`` and so on.

    Args:
        sources: Folder of source pictures, or one picture.
        poses: Folder of poses, or one pose.
        pairs_csv: Table with columns ``source,pose[,target][,identity][,clothes]``, and ``source_2`` to ``source_4``
            for further pictures of a person; names are looked up in the folders, then beside the table. Replaces
            ``pairing``. ``clothes`` holds ``GROUP=PICTURE``, several parted by ``|``.
        pairing: ``product`` pairs every source with every pose, ``stem`` pairs files of the same name
            (``anna.jpg`` with ``anna.txt`` or ``anna_keypoints.json``).
        pose_size: (height, width) of the pictures that the key points were found in. Needed for 133-point files;
            without it, 18-line files are read in DeepFashion's frame and OpenPose files must name their canvas.
        textures: Folder of texture maps instead of ``SOURCES_texture``, or the one of a single source.
        faces: Folder of face embeddings instead of ``SOURCES_face``, or the one of a single source.
        identity: A source picture whose face and head all results take.
        clothes: ``GROUP=PICTURE``: parts of the texture that all results take from another picture.
        on_missing: What happens where a face, texture or DensePose map does not exist that the model reads.
        folders: Folders of further kinds of files by the kind's name, ``iuv`` of the poses say; or the one file.
        noise_name: What the noise of all results depends on beside the seed; None: the source's name.
        sources_by: ``person``: the pictures of a folder in ``sources`` are one person's, up to four by name; else each
            picture stands for itself. A table says by itself which pictures are of one person.
        frames: Whether the poses are frames of a video, in the order of their names.
    """

    complete = False
    pose_files, pose_suffixes = "poses", POSE_SUFFIXES
    """What files of poses are called in messages, and how they end."""

    def __init__(
        self,
        sources: PathText,
        poses: PathText,
        pairs_csv: PathText | None = None,
        pairing: Literal["product", "stem"] = "product",
        pose_size: tuple[int, int] | None = None,
        textures: PathText | None = None,
        faces: PathText | None = None,
        identity: str | None = None,
        clothes: tuple[str, ...] = (),
        on_missing: OnMissing = OnMissing(),  # noqa: B008  frozen
        folders: Mapping[str, str] | None = None,
        noise_name: str | None = None,
        sources_by: Literal["picture", "person"] = "picture",
        frames: bool = False,
    ) -> None:
        if pairs_csv is not None and sources_by == "person":
            message = f"sources_by 'person' would do nothing: {pairs_csv} says which pictures are of one person"
            raise PgpisError(message, hint="columns source, source_2, ... instead")
        frame = None if pose_size is None else Frame(*pose_size, name="pose_size")
        super().__init__(pose_frame=frame, on_missing=on_missing)
        self.sources = Path(sources)
        self.poses = Path(poses)
        self.pairs_csv = None if pairs_csv is None else Path(pairs_csv)
        self.pairing = pairing
        places = {"texture": textures, "face": faces, **(folders or {})}
        self.folders = {kind_of(name).name: Path(place) for name, place in places.items() if place is not None}
        self.identity = identity
        self.clothes = clothes
        self.noise_name = noise_name
        self.sources_by = sources_by
        self.frames = frames
        self.video_name = self.poses.stem

    def read_pairs(self) -> list[Pair]:
        """List the folders or read the table.

        Raises:
            PgpisError: A folder is missing or empty, a file has an unknown suffix, nothing pairs up, a pair is
                named twice, or no pair can be made for its edit; else such a pair fails alone.
        """
        everywhere = EditRequest.parse(self.identity, self.clothes)
        listed = self._listed(everywhere)
        source_names = self._names([first for first, *_ in listed.sources])
        pose_names = short_names(pose for pose, _ in listed.aims)
        videos = distinct((all_of, f"{source_names[all_of[0]]}_2_{self.video_name}") for all_of in listed.sources)
        people = [
            (
                source_names[first],
                Person(
                    first,
                    self.made_of(first, "source"),
                    tuple(Source(picture, self.made_of(picture, "source")) for picture in further),
                    # a person moves through the poses of a video without flicker
                    self.noise_name or printable(source_names[first]),
                    videos[first, *further] if self.frames else None,
                ),
            )
            for first, *further in listed.sources
        ]
        of_poses = {pose: self.made_of(pose, "target") for pose in pose_names}
        aims = [(f"_2_{pose_names[pose]}", Aim(pose, target, of_poses[pose])) for pose, target in listed.aims]
        requests = [merged(own, everywhere) for own in listed.edits]
        names = distinct((request and request.of_files, edit_name(request)) for request in requests)
        edits = [
            (name, (edit := self._edit(request)) and replace(edit, name=name))
            for request in requests
            for name in [names[request and request.of_files]]
        ]
        pairs = [
            Pair(f"{name}{name_of_pose}{name_of_edit}", person, aim, edit)
            for (name, person), (name_of_pose, aim), (name_of_edit, edit) in listed.zipped(people, aims, edits)
        ]
        refuse_if_all_fail(Pair.refuse_fault, pairs)
        return pairs

    def _listed(self, everywhere: EditRequest | None) -> Listed:
        """Read the table, or pair the files of the folders, with what is exchanged in each pair."""
        if self.pairs_csv is not None:
            return listed_in_table(self.pairs_csv, self.sources, self.poses, everywhere, self.pose_suffixes)
        people = self._people()
        poses = list_files(self.poses, self.pose_suffixes, self.pose_files)
        if self.pairing == "stem":
            pairs = pair_by_stem(list(people), poses, by_person=self.sources_by == "person")
            return one_by_one([people[person] for person, _ in pairs], [pose for _, pose in pairs])
        return every_combination(list(people.values()), poses)

    @property
    def places(self) -> tuple[Path, ...]:
        """Where the sources and the poses are; see ``PairDataset.places``."""
        return self.sources, self.poses

    def _people(self) -> dict[Path, tuple[Path, ...]]:
        """Return the pictures of each source, or of each person by their folder."""
        if self.sources_by == "person":
            return people_in(self.sources)
        return {picture: (picture,) for picture in list_files(self.sources, IMAGE_SUFFIXES, "source pictures")}

    def _names(self, pictures: Sequence[Path]) -> dict[Path, str]:
        """Return the names of first sources: of people, those of their folders."""
        if self.sources_by == "person":
            return {picture: picture.parent.name for picture in pictures}
        return short_names(pictures)

    def require(self, origins: Collection[str]) -> None:
        """Look for the files that a model reads; see ``PairDataset.require``.

        Raises:
            PgpisError: Also where two pictures or poses would share a file, no pose at all can be read, or files are
                named that the model does not read.
        """
        self.refuse_unread(origins)
        for kind in conditions(origins):
            if kind.of == "source":
                owners = [(source.picture, source.conditions.get(kind.name)) for source in self.sources_read(kind)]
            else:
                owners = [(pair.pose, pair.file(kind.name)) for pair in by_pose(self.pairs) if pair.pose is not None]
            refuse_shared(kind, owners)
        super().require(origins)
        refuse_if_all_fail(partial(refuse_stale_files, origins=origins), self.pairs)
        if "pose" in origins:
            refuse_if_all_fail(self.read_pose, self._pairs_by_pose())

    def refuse_unread(self, origins: Collection[str]) -> None:
        """Refuse textures and faces that would do nothing.

        Raises:
            PgpisError: Names them.
        """
        for name, option in (("texture", "--textures"), ("face", "--faces")):
            if name in self.folders and name not in origins:
                message = f"{option} {self.folders[name]} would do nothing: this model reads no {kind_of(name).what}"
                raise PgpisError(message, hint=f"leave {option} out, or another --pipeline")

    def sources_read(self, kind: Kind) -> list[Source]:
        """Return the pictures of people of which a kind of file is read; no face of one that is exchanged."""
        needs_own = kind.name != "face"
        pairs = by_source(pair for pair in self.pairs if needs_own or pair.edit is None or pair.edit.identity is None)
        return [source for pair in pairs for source in sources_read(kind.name, pair.sources)]

    def _load(self, pair: Pair, origins: Collection[str]) -> LoadedPair:
        refuse_stale_files(pair, origins)
        return super()._load(pair, origins)

    def fingerprint(self, index: int, origins: Collection[str]) -> str:
        """Return the hash of what :meth:`load` reads, of the noise's own name, and of whether there is a target."""
        parts = (super().fingerprint(index, origins), self.noise_name, "squashed" if self.pairs[index].target else "")
        return parts[0] and " ".join(filter(None, parts))

    def _pairs_by_pose(self) -> Iterable[Pair]:
        """Return a pair of each pose."""
        return by_pose(self.pairs)

    def made_of(self, picture: Path, role: Role) -> dict[str, Path | None]:
        """Return where the conditions of a source or of a pose are: beside its folder, or in a folder of their own.

        A pose that can be a condition itself, a ``.png`` DensePose map, is taken as it.
        """
        return {
            kind.name: picture
            if role == "target" and picture.suffix.lower() == kind.suffix and kind.name not in self.folders
            else self._beside(picture, kind, role)
            for kind in conditions()
            if kind.of == role
        }

    def _beside(self, picture: Path, kind: Kind, role: Role) -> Path:
        """Return where a condition is: for pictures in folders below the one that was named, in such folders too."""
        place = self.folders.get(kind.name) if kind.of == role else None
        root, usual = self.sources if role == "source" else self.poses, beside(picture, kind, place)
        is_one = place is not None and place.suffix.lower() == kind.photo_suffix
        folder, top = (picture.parent, root) if root in picture.parents else map(real_folder, (picture.parent, root))
        if is_one or folder == top or top not in folder.parents:
            return usual
        # where pgpis prepare puts it, of all folders below
        below = beside(root / picture.name, kind, place, below=folder.relative_to(top))
        return usual if is_file(usual) and not is_file(below) else below

    def map_of(self, picture: Path) -> Path | None:
        """Return where the DensePose map of a source is: as its texture, beside its folder."""
        return self._beside(picture, kind_of("iuv"), "source")

    def hint(self, *kinds: Kind) -> str:
        """See ``PairDataset.hint``; maps can also be made of poses that are key points."""
        suffixes = {Path(str(pair.pose)).suffix.lower() for pair in self.pairs}
        if kind_of("iuv") not in kinds or suffixes <= {*IMAGE_SUFFIXES}:
            return super().hint(*kinds)
        return f"pgpis predict --prepare draws DensePose maps from the key points; else {super().hint(*kinds)}"

    def _edit(self, request: EditRequest | None) -> Edit | None:
        """Return what is exchanged, or why it cannot be, which costs the pairs that ask for it."""
        try:
            return None if request is None else self._with_files(request)
        except PgpisError as error:
            return Edit(fault=error.with_traceback(None))

    def _with_files(self, request: EditRequest) -> Edit:
        identity: dict[str, Path | None] | None = None
        if request.identity is not None:
            identity = self.made_of(self._picture(request.identity), "source")
            for kind in ("texture",) if self.on_missing.face == "drop" else ("face", "texture"):
                self._needed(kind, identity[kind], f"identity {request.identity}")
        clothes = []
        for group, name in request.clothes:
            files = self.made_of(self._picture(name), "source")
            self._needed("texture", files["texture"], f"clothes {group}={name}")
            clothes.append((parts_of(group), files))
        return Edit(identity, tuple(clothes))

    def _needed(self, kind: str, path: Path | None, edit: str) -> None:
        if path is None or not is_file(path):
            raise PgpisError(f"{edit}: no {kind_of(kind).what} {path}", hint=self.on_missing.hint(kind))

    def _picture(self, name: str) -> Path:
        if not picture_exists(path := self._place_of(name)):
            raise PgpisError(f"picture not found: {name}; looked in {self.sources} and in the working directory")
        return path

    def _place_of(self, name: str) -> Path:
        beside_table = [] if self.pairs_csv is None else [self.pairs_csv.parent]
        return find_file(name, folders_of([self.sources, Path(), *beside_table]))

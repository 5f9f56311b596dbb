"""DeepFashion's layout, with which FPDM's and MCLD's readers both work, from the same pictures.

Below the data set's folder, for a picture ``T`` (``WOMEN/Dresses/id_00000012/01_1_front``) whose flat name is ``F``
(``fashionWOMENDressesid0000001201_1front``):

======================================  ============================================================================
``img/T.jpg``                           the picture
``pose/T.txt``                          18 lines ``x y`` in DeepFashion's frame with its border; -1 missing
``pose_img/T.jpg``                      these points drawn on 750 x 1101, as the official drawings are
``{train,test}_pairs_data.json``        all ordered pairs of a person's pictures, for FPDM
``{train,test}/F.jpg``                  the picture again (a hard link)
``{train,test}_densepose/F.png``        read as RGB: V, U, part
``{train,test}_texture/F.png``          512 x 512 SMPL texture unwrapped from the picture
``{train,test}_surface/F.png``          512 x 1024, what the picture shows of the body; with ``--textures seen``
``{train,test}_backdrop/F.png``         the picture without the person; likewise
``{train,test}_face/F.npy``             512 floats, only where the face is seen
``{train,test}.csv``, ``{…}.lst``       pairs ``from,to`` and pictures, for MCLD
``labels/T.json``                       ``body18``, ``coco17``, ``whole133`` (x, y, visibility) and ``face_box``
``labels/T.png``                        layers: 0 background, else 1 + :class:`~pgpis.synth.scene.Layer`
``labels/WOMEN/…/id_00000012/atlas.png``  the person's whole texture: DensePose's 24 charts, 4 rows of 6
======================================  ============================================================================
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pgpis.files import write_bytes, writing
from pgpis.pictures.arrays import write_array
from pgpis.pictures.backdrop import backdrop_of
from pgpis.pictures.drawing import draw_pose
from pgpis.pictures.iuv import iuv_pixels
from pgpis.pictures.keypoint_files import write_keypoints
from pgpis.pictures.keypoints import Frame, Keypoints
from pgpis.pictures.surface import surface_of, whole_surface
from pgpis.pictures.uv_texture import TextureMapper
from pgpis.synth.figure.atlas import person_atlas, texture_charts
from pgpis.synth.figure.description import Identity, Outfit
from pgpis.synth.figure.identity import face_code
from pgpis.synth.figure.person import dress
from pgpis.synth.files.formats import Files, json_line, link, write_image
from pgpis.synth.files.manifest import Entry, plain
from pgpis.synth.files.options import DatasetOptions, HiddenPoints, is_photographed
from pgpis.synth.scene.render import Picture
from pgpis.synth.scene.sampling import view_of, views_of

SPLITS = ("train", "test")
DRAWING = (1101, 750)
"""Height and width of the official drawings of poses, which were made on DeepFashion's large pictures."""
HEAD_POINTS = (0, 14, 15, 16, 17)
"""Nose, eyes and ears in OpenPose's order."""
HIDDEN = 1
LABEL_DIGITS = 3


@dataclass(frozen=True)
class Names:
    """The names of one picture."""

    group: str
    category: str
    person: int
    item: int
    view: str

    @property
    def folder(self) -> str:
        """``WOMEN/Dresses/id_00000012``."""
        return f"{self.group}/{self.category}/id_{self.person:08d}"

    @property
    def tree(self) -> str:
        """``WOMEN/Dresses/id_00000012/01_1_front``."""
        return f"{self.folder}/{self.item:02d}_{self.view}"

    @property
    def flat(self) -> str:
        """``fashionWOMENDressesid0000001201_1front``."""
        number, _, rest = self.view.partition("_")
        return f"fashion{self.group}{self.category}id{self.person:08d}{self.item:02d}_{number}{rest}"

    @classmethod
    def of(cls, image: str) -> Names:
        """Take ``img/WOMEN/Dresses/id_00000012/01_1_front.jpg`` apart."""
        _, group, category, folder, file = image.split("/")
        item, _, view = file.removesuffix(".jpg").partition("_")
        return cls(group, category, int(folder.removeprefix("id_")), int(item), view)


def names_of(identity: Identity, outfit: Outfit, person: int, views: int) -> list[Names]:
    """Return the names of a person's views; a kind of view that comes again belongs to the next item."""
    group = "WOMEN" if identity.female else "MEN"
    seen: Counter[str] = Counter()
    names = []
    for view in range(views):
        kind = view_of(view)[0]
        seen[kind] += 1
        names.append(Names(group, category_of(identity.female, outfit), person, seen[kind], kind))
    return names


def category_of(female: bool, outfit: Outfit) -> str:
    """Return the category of DeepFashion that an outfit would be sold in."""
    categories = (
        (outfit.dress, "Dresses", "Dresses"),
        (outfit.jacket is not None, "Jackets_Coats", "Jackets_Vests"),
        (outfit.skirt is not None, "Skirts", "Skirts"),
        (outfit.cut["leg"] < 1, "Shorts", "Shorts"),
        (outfit.neckline == "shirt", "Blouses_Shirts", "Shirts_Polos"),
        (outfit.top.pattern in {"knit", "ribbed"}, "Sweaters", "Sweaters"),
        (outfit.top.logo is not None, "Graphic_Tees", "Tees_Tanks"),
        (outfit.bottom.pattern == "denim", "Denim", "Denim"),
    )
    return next((women if female else men for fits, women, men in categories if fits), "Tees_Tanks")


def write_person(files: Files, options: DatasetOptions, person: int, split: str) -> list[Entry]:
    """Draw all views of a person of the train or test split, write their files and return the manifest's lines."""
    height, width = options.size
    photographed = is_photographed(options.look, person)
    scenes = views_of(
        options.seed,
        person,
        options.views,
        width / height,
        photographed=photographed,
        misaligned=options.misaligned,
    )
    names = names_of(scenes[0].identity, scenes[0].outfit, person, options.views)
    atlas = person_atlas(dress(scenes[0].identity, scenes[0].outfit))[0]
    mapper = None if options.textures == "none" else texture_mapper(inpaint=options.inpaint)
    exact = mapper.texture(texture_charts(atlas)) if mapper and options.textures == "exact" else None
    entries = []
    for view, (name, scene) in enumerate(zip(names, scenes, strict=True)):
        entry = Entry(f"img/{name.tree}.jpg", "deepfashion", split, person, view, options.size, plain(scene))
        picture = entry.draw()
        write_image(files.add(entry.name), picture.rgb)
        keypoints = openpose_keypoints(picture, options.hidden_points)
        write_keypoints(files.add(f"pose/{name.tree}.txt"), keypoints)
        write_image(files.add(f"pose_img/{name.tree}.jpg"), draw_pose(keypoints, *DRAWING))
        link(files.root / entry.name, files.add(f"{split}/{name.flat}.jpg"))
        write_image(files.add(f"{split}_densepose/{name.flat}.png"), iuv_pixels(picture.iuv))
        if picture.face_box is not None:
            write_array(files.add(f"{split}_face/{name.flat}.npy"), face_code(entry.scene.identity))
        write_bytes(files.add(f"labels/{name.tree}.json"), json_line(labels_of(picture)))
        write_image(files.add(f"labels/{name.tree}.png"), (picture.layer + 1).astype(np.uint8))
        if mapper is not None:
            texture = mapper(picture.rgb, picture.iuv) if exact is None else exact
            write_image(files.add(f"{split}_texture/{name.flat}.png"), texture)
            surface = surface_of(picture.rgb, picture.iuv) if exact is None else whole_surface(exact)
            backdrop = backdrop_of(picture.rgb, picture.layer >= 0)
            write_image(files.add(f"{split}_surface/{name.flat}.png"), surface, quickly=True)
            write_image(files.add(f"{split}_backdrop/{name.flat}.png"), backdrop, quickly=True)
        entries.append(entry)
    write_image(files.add(f"labels/{names[0].folder}/atlas.png"), atlas)
    return entries


texture_mapper = lru_cache(maxsize=1)(TextureMapper)
"""Makes the mapper from pictures to SMPL textures once per process."""


def openpose_keypoints(picture: Picture, hidden: HiddenPoints) -> Keypoints:
    """Return a picture's 18 points as OpenPose would report them; those outside the picture are missing.

    ``limbs`` gives hidden points of the body, which OpenPose guesses, but not of the face, which it leaves out; ``all``
    gives both, ``none`` neither.
    """
    height, width = picture.rgb.shape[:2]
    visibility = picture.body18[:, 2]
    reported = visibility > HIDDEN if hidden == "none" else visibility >= HIDDEN
    if hidden == "limbs":
        reported[list(HEAD_POINTS)] &= visibility[list(HEAD_POINTS)] > HIDDEN
    points = picture.body18[:, :2].astype(np.float64)
    return Keypoints.from_visible(points, np.repeat(reported[:, None], 2, axis=1), Frame(height, width), "body18")


def labels_of(picture: Picture) -> dict[str, Any]:
    """Return key points and face box as JSON, in pixels with three decimals."""
    labels = {name: getattr(picture, name) for name in ("body18", "coco17", "whole133", "face_box")}
    return {
        name: None if values is None else np.round(np.array(values, np.float64), LABEL_DIGITS).tolist()
        for name, values in labels.items()
    }


def write_lists(root: Path, entries: Iterable[Entry]) -> None:
    """Write the lists of both readers; ``entries`` are all pictures in this layout, person by person."""
    people: dict[str, list[list[Names]]] = {split: [] for split in SPLITS}
    for _, pictures in itertools.groupby(entries, key=lambda entry: entry.person):
        views = list(pictures)
        people[views[0].split].append([Names.of(entry.name) for entry in views])
    for split, views_of_people in people.items():
        all_pairs = writing(root / f"{split}_pairs_data.json")
        with all_pairs as pairs, writing(root / f"{split}.csv") as table, writing(root / f"{split}.lst") as names:
            table.write(b"from,to\n")
            pairs.write(b"[")
            separator = b"\n"
            for own in views_of_people:
                names.writelines(f"{name.flat}.jpg\n".encode() for name in own)
                for source, target in itertools.permutations(own, 2):
                    pair = {"source_image": f"./img/{source.tree}.jpg", "target_image": f"./img/{target.tree}.jpg"}
                    pairs.write(separator + json_line(pair).rstrip())
                    table.write(f"{source.flat}.jpg,{target.flat}.jpg\n".encode())
                    separator = b",\n"
            pairs.write(b"\n]\n")

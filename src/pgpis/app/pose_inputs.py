"""The ways to say which pose is meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from pgpis.app.desk import PICTURES, QUIET, Desk
from pgpis.app.found import found_pose
from pgpis.app.given import one_of
from pgpis.app.inputs import photo_of
from pgpis.app.poses import named_poses, placed, thumbnail
from pgpis.app.sessions import Visitor
from pgpis.app.skeleton import read_value, skeleton_editor, value_of
from pgpis.app.uploads import Upload
from pgpis.app.work import one_message
from pgpis.files import replacing
from pgpis.pictures.keypoint_files import write_keypoints
from pgpis.pictures.keypoints import Frame, Keypoints

LIBRARY, PHOTO, SKELETON, VIDEO = "a named pose", "a photo", "a skeleton", "a video"


class Pose(NamedTuple):
    """Where a pose is taken from."""

    path: Path
    is_driving: bool
    """Whether it is a photograph of somebody."""


@dataclass(frozen=True)
class PoseInputs:
    """The ways to say which pose is meant."""

    kind: gr.Radio
    named: gr.Dropdown
    photo: gr.Image
    skeleton: gr.HTML
    fit_limbs: gr.Checkbox
    video: gr.Column
    """Is shown where the pose comes from a video."""

    @property
    def all(self) -> list[Any]:
        """In the order in which endpoints take them."""
        return [self.kind, self.named, self.photo, self.skeleton, self.fit_limbs]


def library(desk: Desk) -> gr.Dropdown:
    """Lay out the named poses, as pictures and as a list."""
    names = list(named_poses())
    thumbnails = gr.Gallery(
        thumbnail_files(desk.home / "poses"),
        label="Poses",
        columns=6,
        allow_preview=False,
        object_fit="contain",
        interactive=False,
        buttons=[],
        elem_classes="thumbnails",
    )
    named = gr.Dropdown(names, value=names[0], label="Pose")

    def choose(event: gr.SelectData) -> str:
        return names[int(event.index)]

    thumbnails.select(choose, None, named, **QUIET)
    return named


def pose_inputs(desk: Desk, person: gr.Image, kinds: tuple[str, ...]) -> PoseInputs:
    """Lay out the ways to say which pose is meant.

    Args:
        desk: As for all tabs.
        person: Photo of the person; their own pose is one to begin with.
        kinds: Of the ways; what belongs to ``VIDEO`` has yet to be laid out.
    """
    kind = gr.Radio(list(kinds), value=kinds[0], label="Take the pose from")
    with gr.Column(visible=True) as by_name:
        named = library(desk)
    with gr.Column(visible=False) as by_photo:
        photo = photo_of("Photo of somebody in the pose")
        fit_limbs = gr.Checkbox(label="Give it the limb lengths of the person (models that read key points)")
    with gr.Column(visible=False) as by_skeleton:
        with gr.Row():
            from_photo = gr.Button("Begin with the pose in the photo", size="sm", min_width=140)
            from_library = gr.Button("Begin with the named pose", size="sm", min_width=140)
        skeleton = skeleton_editor(label="Skeleton")
    video = gr.Column(visible=False)
    groups = {LIBRARY: by_name, PHOTO: by_photo, SKELETON: by_skeleton, VIDEO: video}
    kind.change(
        lambda chosen: [gr.Column(visible=name == chosen) for name in groups],
        kind,
        list(groups.values()),
        **QUIET,
    )

    def find_pose(photo: Upload, request: gr.Request) -> dict[str, Any]:
        """Find the pose in a photo. Returns a skeleton that ``/make`` takes."""
        from pgpis.pictures.images import read_image  # loads torch

        visitor = desk.visitor(request)
        with visitor.at_work(), one_message(visitor.folder):
            picture = visitor.picture(photo, "Photo")
            return value_of(found_pose(picture, visitor.conditions), read_image(picture))

    def take_named(photo: Upload, name: str, request: gr.Request) -> dict[str, Any]:
        """Return the skeleton of a named pose, over the photo where there is one."""
        from pgpis.pictures.images import read_image  # loads torch

        visitor = desk.visitor(request)
        with visitor.at_work(), one_message(visitor.folder):
            pose = named_pose(name)
            if not photo:
                return value_of(pose)
            picture = read_image(visitor.picture(photo, "Photo"))
            return value_of(placed(pose, Frame(picture.height, picture.width)), picture)

    visibility = "public" if VIDEO in kinds else "private"  # once is enough
    from_photo.click(find_pose, person, skeleton, api_name="find_pose", api_visibility=visibility, **PICTURES)
    from_library.click(take_named, [person, named], skeleton, preprocess=False, **QUIET)
    return PoseInputs(kind, named, photo, skeleton, fit_limbs, video)


def pose_of(visitor: Visitor, folder: Path, kind: str, named: str, photo: Upload, skeleton: Any) -> Pose:
    """Return the pose that a visitor means.

    Raises:
        PgpisError: It is missing or cannot be read.
    """
    if kind == PHOTO:
        return Pose(visitor.picture(photo, "Pose photo"), is_driving=True)
    if kind == SKELETON:
        return Pose(_written(read_value(skeleton), folder / "skeleton.json"), is_driving=False)
    one_of(kind, (LIBRARY, PHOTO, SKELETON), "pose from")
    return Pose(_written(named_pose(named), folder / f"{named}.json"), is_driving=False)


def named_pose(name: str) -> Keypoints:
    """Return a pose of the library.

    Raises:
        PgpisError: There is none of this name.
    """
    poses = named_poses()
    return poses[one_of(name, poses, "pose")]


def _written(keypoints: Keypoints, path: Path) -> Path:
    write_keypoints(path, keypoints)
    return path


def thumbnail_files(folder: Path) -> list[tuple[str, str]]:
    """Draw the library, and return files and names."""
    files = []
    for name, keypoints in named_poses().items():
        path = folder / f"{name.replace(' ', '-')}.png"
        if not path.exists():
            with replacing(path) as picture:
                thumbnail(keypoints).save(picture)
        files.append((str(path), name))
    return files

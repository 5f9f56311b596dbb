"""The tab that puts a person into a pose, and the one that shows it by several models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from pgpis.app.desk import PICTURES, QUIET, Desk, make_and_stop
from pgpis.app.given import some_of
from pgpis.app.inputs import drawing_of, more_inputs, person_inputs, person_of
from pgpis.app.pose_inputs import LIBRARY, PHOTO, SKELETON, VIDEO, pose_inputs, pose_of
from pgpis.app.results import done, finished, result_components, save, save_source, shown
from pgpis.app.uploads import Upload, Uploads
from pgpis.app.video import video_inputs
from pgpis.app.work import Tell, draw
from pgpis.studio.request import PictureRequest


def new_pose_tab(desk: Desk, page: gr.Blocks) -> None:
    """Lay out the tab that puts a person into a pose."""
    with gr.Row():
        with gr.Column():
            person = person_inputs(desk, page)
            poses = pose_inputs(desk, person.photo, (LIBRARY, PHOTO, SKELETON, VIDEO))
            more = more_inputs(desk, next(iter(desk.offers)))
            make, stop = make_and_stop("Make the picture")
        with gr.Column():
            results = result_components("Photo")
    poses.kind.change(
        lambda kind: gr.Button(visible=kind != VIDEO),
        poses.kind,
        make,
        **QUIET,
    )

    def make_pictures(
        photo: Upload,
        pose_from: str,
        named_pose: str,
        pose_photo: Upload,
        skeleton: Any,
        fit_limbs: bool,
        model: str,
        steps: int | None,
        guidance: float | None,
        seed: int | None,
        pictures: int,
        height: int | None,
        width: int | None,
        request: gr.Request,
        further_photos: Uploads = None,
    ) -> Iterator[list[Any]]:
        """Put a person into a pose.

        Returns status, pictures with captions, (photo, first picture), what the model saw, and the first PNG.
        """
        pose = (pose_from, named_pose, pose_photo, skeleton, fit_limbs)
        person = photo, further_photos
        yield from _drawn(desk, request, person, pose, [model], (steps, guidance, seed, pictures, height, width))

    make.click(
        make_pictures,
        [person.photo, *poses.all, more.model, *more.drawing, person.further],
        results.all,
        api_name="make",
        show_progress_on=results.status,
        **PICTURES,
    )
    stop.click(desk.stop, None, None, api_name="stop", queue=False, show_progress="hidden")
    with poses.video:
        video_inputs(desk, person, more)


def compare_tab(desk: Desk, page: gr.Blocks) -> None:
    """Lay out the tab that shows a person in a pose by several models."""
    with gr.Row():
        with gr.Column():
            person = person_inputs(desk, page)
            poses = pose_inputs(desk, person.photo, (LIBRARY, PHOTO, SKELETON))
            models = gr.CheckboxGroup(list(desk.offers), value=list(desk.offers), label="Models")
            seed = gr.Number(0, label="Seed", precision=0, minimum=0)
            make, stop = make_and_stop("Compare")
        with gr.Column():
            results = result_components("Photo")

    def compare(
        photo: Upload,
        pose_from: str,
        named_pose: str,
        pose_photo: Upload,
        skeleton: Any,
        fit_limbs: bool,
        models: list[str],
        seed: int | None,
        request: gr.Request,
        further_photos: Uploads = None,
    ) -> Iterator[list[Any]]:
        """Put a person into a pose by several models.

        Returns the same as ``/make``, with a picture of each model.
        """
        pose = (pose_from, named_pose, pose_photo, skeleton, fit_limbs)
        person = photo, further_photos
        yield from _drawn(desk, request, person, pose, models, (None, None, seed, 1, None, None))

    make.click(
        compare,
        [person.photo, *poses.all, models, seed, person.further],
        results.all,
        api_name="compare",
        show_progress_on=results.status,
        **PICTURES,
    )
    stop.click(desk.stop, None, None, **QUIET)


def _drawn(
    desk: Desk,
    request: gr.Request,
    person: tuple[Upload, Uploads],
    pose: tuple[str, str, Upload, Any, bool],
    models: list[str],
    numbers: tuple[Any, ...],
) -> Iterator[list[Any]]:
    """Draw a person in a pose by each of some models, and yield what the results show."""
    visitor = desk.visitor(request)

    def job(folder: Path, tell: Tell) -> list[Any]:
        (source, *further), target = person_of(visitor, *person), pose_of(visitor, folder, *pose[:4])
        fit_limbs = pose[4] and target.is_driving
        chosen = some_of(models, desk.offers, "model")

        def requests_to(model: str) -> list[PictureRequest]:
            drawing = drawing_of(desk.offer(model), *numbers)
            return [
                PictureRequest(
                    source=source,
                    further=tuple(further),
                    pose=target.path,
                    driving=target.is_driving,
                    retarget=fit_limbs,
                    drawing=drawing,
                )
            ]

        pictures = []
        for number, model in enumerate(chosen):
            (read,), (made,) = draw(desk.opening, model, requests_to, visitor.conditions, tell)
            paths = save(made, folder, f"picture-{number}")
            captions = [model if len(made) == 1 else f"{model}, {count}" for count, _ in enumerate(made, 1)]
            pictures += list(zip(paths, captions, strict=True))
            assert made[0].image is not None, "the studio raises where there is none"
            before = save_source(read, made[0].image.size, folder)
        return finished(done(1 + len(further)), pictures, before, read, folder)

    yield from shown(visitor, request, job, 5)

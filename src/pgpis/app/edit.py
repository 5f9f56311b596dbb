"""The tab that gives a person the clothes and the identity of somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from pgpis.app.desk import PICTURES, QUIET, Desk, make_and_stop
from pgpis.app.given import some_of
from pgpis.app.inputs import drawing_of, more_inputs, person_inputs, person_of, photo_of
from pgpis.app.pose_inputs import LIBRARY, Pose, library, pose_of
from pgpis.app.results import done, finished, result_components, save, shown
from pgpis.app.uploads import Upload, Uploads
from pgpis.app.work import Tell, draw
from pgpis.errors import PgpisError
from pgpis.pictures.uv_texture import PART_GROUPS
from pgpis.studio.request import PictureRequest

OWN = "the photo"
IDENTITY = "identity"


def edit_tab(desk: Desk, page: gr.Blocks) -> None:
    """Lay out the tab."""
    editors = [name for name, offer in desk.offers.items() if offer.edits is not False]
    with gr.Row():
        with gr.Column():
            person = person_inputs(desk, page)
            other = photo_of("Photo of somebody else")
            parts = gr.CheckboxGroup([IDENTITY, *PART_GROUPS], value=["upper"], label="Take over from somebody else")
            kind = gr.Radio([OWN, LIBRARY], value=OWN, label="Take the pose from")
            with gr.Column(visible=False) as by_name:
                named = library(desk)
            more = more_inputs(desk, (editors or list(desk.offers))[0])
            make, stop = make_and_stop("Edit")
        with gr.Column():
            results = result_components("Unedited")
    kind.change(
        lambda chosen: gr.Column(visible=chosen == LIBRARY),
        kind,
        by_name,
        **QUIET,
    )

    def edit(
        photo: Upload,
        other_photo: Upload,
        parts: list[str],
        pose_from: str,
        named_pose: str,
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
        """Give a person clothes by groups of body parts, and the identity, of somebody else.

        Returns status, edited and unedited pictures, (unedited, edited), what the model saw, and the edited PNG.
        """
        visitor = desk.visitor(request)

        def job(folder: Path, tell: Tell) -> list[Any]:
            source, *further = person_of(visitor, photo, further_photos)
            lender = visitor.picture(other_photo, "Photo of somebody else")
            target = Pose(source, is_driving=True)
            if pose_from != OWN:
                target = pose_of(visitor, folder, pose_from, named_pose, None, None)
            offer, groups = desk.offer(model), _groups(parts)

            def requests_to(_model: str) -> list[PictureRequest]:
                drawing = drawing_of(offer, steps, guidance, seed, pictures, height, width)
                unedited = PictureRequest(
                    source=source,
                    further=tuple(further),
                    pose=target.path,
                    driving=target.is_driving,
                    drawing=drawing,
                )
                clothes = tuple((group, lender) for group in groups)
                return [replace(unedited, identity=lender if IDENTITY in parts else None, clothes=clothes), unedited]

            (read, _), (edited, unedited) = draw(desk.opening, model, requests_to, visitor.conditions, tell)
            files = save(edited, folder, "edited"), save(unedited, folder, "unedited")
            captions = ("edited", "unedited")
            both = [each for pair in zip(*files, strict=True) for each in zip(pair, captions, strict=True)]
            return finished(done(1 + len(further)), both, files[1][0], read, folder)

        yield from shown(visitor, request, job, 5)

    make.click(
        edit,
        [person.photo, other, parts, kind, named, more.model, *more.drawing, person.further],
        results.all,
        api_name="edit",
        show_progress_on=results.status,
        **PICTURES,
    )
    stop.click(desk.stop, None, None, **QUIET)


def _groups(parts: list[str]) -> list[str]:
    """Return the groups of body parts among what is taken over."""
    if not parts:
        raise PgpisError("nothing is to be taken over: choose identity or a group of body parts")
    chosen = some_of(parts, (IDENTITY, *PART_GROUPS), "group of body parts")
    return [part for part in chosen if part != IDENTITY]

"""The tab for many people and poses at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

import gradio as gr

from pgpis.app.desk import BATCHES, QUIET, Desk, make_and_stop
from pgpis.app.given import list_of, one_of
from pgpis.app.inputs import drawing_of, more_inputs
from pgpis.app.predicting import OUT, as_status, check_at_once, zipped
from pgpis.app.results import shown, status_line
from pgpis.app.sessions import Visitor
from pgpis.app.uploads import MOST_PIXELS, PICTURE_TYPES, POSE_TYPES, Upload
from pgpis.app.work import Tell
from pgpis.errors import PgpisError
from pgpis.files import file_name
from pgpis.pictures.sheet import CONTACT_SHEET
from pgpis.studio.uploads import picture_suffix

POSES, PHOTOS = "pose files: OpenPose JSON, 18-point txt, drawn skeletons", "photos of people in the poses"


def folder_tab(desk: Desk) -> None:
    """Lay out the tab."""
    with gr.Row():
        with gr.Column():
            sources = gr.File(label="Photos of people", file_count="multiple", file_types=PICTURE_TYPES)
            poses = gr.File(label="Poses", file_count="multiple", file_types=POSE_TYPES)
            kind = gr.Radio([PHOTOS, POSES], value=PHOTOS, label="The poses are")
            more = more_inputs(desk, next(iter(desk.offers)), with_size=False)
            make, stop = make_and_stop("Make all pictures")
        with gr.Column():
            status = status_line()
            archive = gr.File(label="All pictures and predictions.csv", interactive=False)

    def make_all(
        sources: list[Upload] | None,
        poses: list[Upload] | None,
        poses_are: str,
        model: str,
        steps: int | None,
        guidance: float | None,
        seed: int | None,
        pictures: int,
        request: gr.Request,
    ) -> Iterator[list[Any]]:
        """Put every person into every pose.

        Returns status and a zip with the pictures, predictions.csv and a contact sheet.
        """
        visitor = desk.visitor(request)

        def job(folder: Path, tell: Tell) -> list[Any]:
            from pgpis.predictions.records import TABLE  # loads torch

            people, targets = list_of(sources, "photo of a person"), list_of(poses, "pose")
            are_photos = one_of(poses_are, (PHOTOS, POSES), "kind of poses") == PHOTOS
            drawing = drawing_of(desk.offer(model), steps, guidance, seed, pictures, None, None)
            total = len(people) * len(targets) * drawing.pictures
            check_at_once(total)
            _lay_out(visitor, people, folder / "people", PICTURE_TYPES)
            _lay_out(visitor, targets, folder / "poses", PICTURE_TYPES if are_photos else POSE_TYPES)
            words = ["--sources", "people", *(["--driving"] if are_photos else ["--prepare", "--poses"]), "poses"]
            words += desk.words(model, drawing)
            made = desk.batches.predict(words, folder, total, tell)
            out = folder / OUT
            files = [out / record.image for record in made.done]
            failed = f", {len(made.failed)} failed: {TABLE} says why" if made.failed else ""
            text = f"{len(files)} pictures{failed}" if made.is_whole else made.ended_early(total)
            extra = [path for path in (out / TABLE, out / CONTACT_SHEET) if path.exists()]
            return [as_status(text, visitor.folder), str(zipped(folder, [*extra, *files]))]

        yield from shown(visitor, request, job, 2)

    make.click(
        make_all,
        [sources, poses, kind, more.model, more.steps, more.guidance, more.seed, more.pictures],
        [status, archive],
        api_name="folder",
        show_progress_on=status,
        **BATCHES,
    )
    stop.click(desk.stop, None, None, **QUIET)


def _lay_out(visitor: Visitor, uploads: Sequence[Upload], folder: Path, suffixes: Sequence[str]) -> None:
    """Copy uploaded files into a folder, each under a name of its own.

    Raises:
        PgpisError: One is of a kind that is not taken.
    """
    folder.mkdir()
    for number, upload in enumerate(uploads, 1):
        path = visitor.own(upload, f"file {number}")
        suffix = path.suffix.lower()
        if suffix not in suffixes:
            raise PgpisError(f"{path.name}: expected one of {', '.join(suffixes)}")
        if suffix in PICTURE_TYPES:
            with path.open("rb") as file:
                suffix = picture_suffix(file, path.name, MOST_PIXELS)
        stem = re.sub(r"[^\w-]+", "-", path.stem).strip("-") or "file"
        endings = chain([""], (f"-{further}" for further in count(number)))
        places = (folder / file_name(f"{stem}{ending}", suffix) for ending in endings)
        next(place for place in places if not place.exists()).write_bytes(path.read_bytes())

"""The part of the page that makes a film of a person from a driving video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from pgpis.app.desk import BATCHES, QUIET, Desk, make_and_stop
from pgpis.app.inputs import More, PersonInputs, drawing_of, person_of
from pgpis.app.predicting import OUT, as_status, check_at_once, source_words
from pgpis.app.results import done, shown, status_line
from pgpis.app.uploads import VIDEO_TYPES, Upload, Uploads
from pgpis.app.work import Tell
from pgpis.errors import PgpisError, check_range, error_of

MOST_EVERY = 25


def video_inputs(desk: Desk, person: PersonInputs, more: More) -> None:
    """Lay out the driving video, its button and the film.

    Args:
        desk: As for all tabs.
        person: Their photos.
        more: Model, steps, guidance and seed.
    """
    video_file = gr.File(label="Driving video", file_types=VIDEO_TYPES)
    every = gr.Slider(1, MOST_EVERY, value=5, step=1, label="Take each so many frames", buttons=[])
    make, stop = make_and_stop("Make the film")
    status = status_line()
    film = gr.Video(label="Photo, pose and result", interactive=False, buttons=["download"])

    def make_film(
        photo: Upload,
        video: Upload,
        every: int,
        model: str,
        steps: int | None,
        guidance: float | None,
        seed: int | None,
        request: gr.Request,
        further_photos: Uploads = None,
    ) -> Iterator[list[Any]]:
        """Let a person do what somebody does in a video.

        Returns status and an mp4 that shows photo, pose and result side by side.
        """
        visitor = desk.visitor(request)

        def job(folder: Path, tell: Tell) -> list[Any]:
            from pgpis.pictures.videos import frame_count  # loads torch

            sources = person_of(visitor, photo, further_photos)
            clip = visitor.own(video, "Video")
            if clip.suffix.lower() not in VIDEO_TYPES:
                raise PgpisError(f"Video: expected one of {', '.join(VIDEO_TYPES)}")
            check_range("every", every, 1, MOST_EVERY, whole=True)
            drawing = drawing_of(desk.offer(model), steps, guidance, seed, 1, None, None)
            driving = visitor.keep(clip, f"clip{clip.suffix.lower()}")
            total = -(-frame_count(driving) // every)
            check_at_once(total)
            words = [*source_words(sources, folder), "--driving", str(driving), "--every", str(every)]
            made = desk.batches.predict([*words, *desk.words(model, drawing)], folder, total, tell)
            films = list((folder / OUT / "videos").glob("*.mp4"))
            if not films:
                reason = made.reason if made.is_whole else made.ended_early(total)
                raise PgpisError(f"no film could be made: {reason}")
            text = done(len(sources))
            if made.failed:
                why = error_of(made.failed[0].status).message
                text += f"; {len(made.failed)} of {total} frames failed: {why}"
            return [as_status(text, visitor.folder), str(films[0])]

        yield from shown(visitor, request, job, 2)

    make.click(
        make_film,
        [person.photo, video_file, every, more.model, more.steps, more.guidance, more.seed, person.further],
        [status, film],
        api_name="film",
        show_progress_on=status,
        **BATCHES,
    )
    stop.click(desk.stop, None, None, **QUIET)

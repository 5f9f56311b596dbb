"""Jobs to answers: equal settings are drawn together, and each job fails alone."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pgpis.errors import PgpisError
from pgpis.predictions import Prediction
from pgpis.service.jobs import Answer, Job, error_body
from pgpis.studio.request import Drawing
from pgpis.studio.studio import Read, Studio

log = logging.getLogger(__name__)

OPTION = re.compile(r"--(retarget|driving|pose)s?\b(?!-)")
"""Of ``pgpis predict``, that the form has too."""


def draw_jobs(studio: Studio, jobs: Sequence[Job], folder: Path) -> list[Answer]:
    """Make the pictures of jobs.

    Args:
        studio: The models.
        jobs: Of any settings; those of one model, equal drawings and as many sources become one batch.
        folder: Holds the files of a job while they are read, and what is made of them.

    Returns:
        An answer to each; none of them depends on the others.
    """
    answers: dict[int, Answer] = {}
    groups: dict[tuple[str, Drawing, int], list[tuple[int, Read]]] = {}
    for number, job in enumerate(jobs):
        try:
            read = _read(studio, job, folder)
        except Exception as error:  # noqa: BLE001  a stranger's files, and other jobs are to go on
            answers[number] = failure(error, job)
        else:
            groups.setdefault((job.model, job.drawing, len(job.further)), []).append((number, read))
    for (model, *_), members in groups.items():
        answers |= _draw(studio, model, jobs, members)
    return [answers[number] for number in range(len(jobs))]


def _read(studio: Studio, job: Job, folder: Path) -> Read:
    """Read the files of a job, which are gone afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        try:
            return studio.read(job.model, job.lay_out(Path(place)), Path(place) / "made")
        except PgpisError as error:
            # by their names alone, also those beside the place
            message = re.sub(rf"{re.escape(str(folder))}/(?:[^/\s]+/)*", "", error.message)
            raise PgpisError(message, hint=error.hint) from error


def _draw(studio: Studio, model: str, jobs: Sequence[Job], members: Sequence[tuple[int, Read]]) -> dict[int, Answer]:
    """Draw a group; if that fails, each alone, so that one cannot spoil the others."""
    start = time.monotonic()
    try:
        drawn = studio.draw(model, [read for _, read in members])
    except Exception as error:  # noqa: BLE001  the worker goes on
        if len(members) > 1:
            alone = [_draw(studio, model, jobs, [member]) for member in members]
            return {number: answer for each in alone for number, answer in each.items()}
        ((number, _),) = members
        return {number: failure(error, jobs[number])}
    seconds = time.monotonic() - start
    answers = {}
    for place, ((number, read), predictions) in enumerate(zip(members, drawn, strict=True)):
        told = {"drawn_together": len(members), "seconds": seconds} if place == 0 else {}
        answers[number] = _answer(jobs[number], read, predictions, told)
    return answers


def _answer(job: Job, read: Read, predictions: Sequence[Prediction], told: dict[str, Any]) -> Answer:
    pictures = [prediction.png() for prediction in predictions]
    if not job.as_json:
        return Answer(status=200, body=pictures[0], media_type="image/png", model=job.model, **told)
    content: dict[str, Any] = {
        "model": job.model,
        "pictures": [
            {"seed": prediction.record.seed, "png": _base64(picture)}
            for prediction, picture in zip(predictions, pictures, strict=True)
        ],
    }
    if job.wants_seen:
        content["seen"] = {name: _base64(_png(image)) for name, image in read.seen.items()}
    return Answer(status=200, body=json.dumps(content).encode(), model=job.model, **told)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def failure(error: Exception, job: Job) -> Answer:
    """Return the answer to a job that failed: the client's to mend, or ours."""
    if isinstance(error, PgpisError):
        clauses = OPTION.sub(r"\1", error.hint or "").split("; ")
        hint = "; ".join(clause for clause in clauses if "--" not in clause)  # clients have no other options
        return Answer(status=422, body=error_body(OPTION.sub(r"\1", error.message), hint or None), model=job.model)
    log.error("%s: a picture could not be drawn", job.model, exc_info=error)
    hint = "the log of the service says more"
    return Answer(status=500, body=error_body("the picture could not be drawn", hint), model=job.model)

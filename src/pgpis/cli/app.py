"""``pgpis app``: a page to try models in the browser."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pgpis.app.offers import Offer, named, offer_of
from pgpis.errors import PgpisError, check_range
from pgpis.interrupts import Stopped
from pgpis.lazy import optional_module
from pgpis.pipelines.shipped import SHIPPED, refuse_unknown

if TYPE_CHECKING:  # loads torch
    from pgpis.studio.studio import Studio

log = logging.getLogger(__name__)


def app(
    *,
    pipeline: tuple[str, ...] = (),
    host: str = "127.0.0.1",
    port: int = 7860,
    auth: str | None = None,
    max_upload: int = 32,
    root_path: str | None = None,
    no_mark: bool = False,
) -> int:
    """Serve a page on which pictures are made in the browser, and its API.

    Nothing is sent anywhere else, and what visitors bring is deleted when they leave. Ctrl-C ends it.

    Args:
        pipeline: Pipeline folders, hub ids or bundles, or models that ship with pgpis [synth-fpdm synth-mcld].
        host: Address that is listened at; with another one than this machine's own, others may use the page.
        port: Port of the page.
        auth: ``USER:PASSWORD`` that visitors are asked for.
        max_upload: Megabytes that an uploaded file may have.
        root_path: Path below which a proxy shows the page, as in ``/pgpis``.
        no_mark: Leave out what marks pictures as made by a model, and what makes them again.
    """
    check_range("--port", port, 1, 65535, whole=True)
    check_range("--max-upload", max_upload, 1, 4096, whole=True)
    user, colon, password = (auth or "").partition(":")
    if auth is not None and not (user and colon and password):
        raise PgpisError("--auth: expected USER:PASSWORD", hint="--auth anna:correct-horse")
    offers = offers_of(pipeline)
    optional_module("gradio", "the page needs gradio", 'pip install "pgpis[app]"')
    from pgpis.app.server import Address, serving  # loads gradio

    address = Address(host, port, root_path, (user, password) if auth else None, max_upload)
    with serving(lambda: studio_of(offers, mark=not no_mark), offers, address) as local:
        log.info("the page is at %s", local)
        try:
            threading.Event().wait()
        except Stopped as stop:  # nothing is lost that the same command would go on with
            return stop.code
    return 0


def offers_of(pipelines: tuple[str, ...]) -> dict[str, Offer]:
    """Return what the page offers, by name; without pipelines the models that ship."""
    return named([_offer(pipeline) for pipeline in pipelines or SHIPPED])


def _offer(pipeline: str) -> Offer:
    shipped = SHIPPED.get(pipeline)
    if shipped is not None:
        return offer_of(pipeline, shipped.sampling, edits=shipped.face_space is not None)
    refuse_unknown(pipeline)
    # it is also read by processes that run in the folders of visitors
    return offer_of(str(Path(pipeline).absolute()) if Path(pipeline).exists() else pipeline)


def studio_of(offers: Mapping[str, Offer], *, mark: bool = True) -> Studio:
    """Return the studio that draws for the page."""
    from pgpis.cli.models import load_task  # these load torch
    from pgpis.preprocess.settings import PrepareSettings
    from pgpis.studio.studio import Studio

    pipelines = {name: offer.pipeline for name, offer in offers.items()}
    return Studio(load_task, pipelines, PrepareSettings(inpaint="fast"), mark=mark)

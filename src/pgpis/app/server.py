"""Serving the page: where its files are, and what is refused before Gradio sees it."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.middleware import Middleware

from pgpis.app.examples import example_pictures
from pgpis.app.guard import Guard
from pgpis.app.offers import Offer
from pgpis.app.predicting import Batches
from pgpis.app.sessions import Visitors
from pgpis.errors import PgpisError
from pgpis.studio.uploads import is_local

if TYPE_CHECKING:
    from pgpis.studio.studio import Studio  # loads torch

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Address:
    """Where the page is, and who may see it."""

    host: str = "127.0.0.1"
    port: int = 7860
    root_path: str | None = None
    """Path below which a proxy shows it."""
    auth: tuple[str, str] | None = None
    """User and password."""
    most_upload: int = 32
    """Megabytes of one uploaded file."""


@contextmanager
def serving(open_studio: Callable[[], Studio], offers: Mapping[str, Offer], address: Address) -> Iterator[str]:
    """Serve the page while the block runs.

    Args:
        open_studio: Makes the studio; called once, beside the page, as it loads torch.
        offers: Models by the names that the studio has for them.
        address: Where.

    Yields:
        Its local address.

    Raises:
        PgpisError: The port is taken.
    """
    # Gradio serves what lies here, and reads this when the first component is made
    home = Path(tempfile.mkdtemp(prefix="pgpis-app-")).resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(home)
    from pgpis.app.desk import Desk  # these make components
    from pgpis.app.page import build, looks

    visitors = Visitors(home)
    opening: Future[Studio] = Future()
    examples: Future[list[Path]] = Future()
    try:
        page = build(Desk(opening, visitors, offers, examples, Batches(), home))
        local = _launch(page, address, looks())
        work = (opening, examples, open_studio, next(iter(offers)), home)
        threading.Thread(target=_open, args=work, daemon=True).start()
        try:
            yield local
        finally:
            visitors.close()
            page.close(verbose=False)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _open(
    opening: Future[Studio],
    examples: Future[list[Path]],
    open_studio: Callable[[], Studio],
    first: str,
    home: Path,
) -> None:
    """Do beside the page what would keep visitors waiting: load torch and the first model, then draw the examples."""
    _fulfil(opening, open_studio)
    try:
        opening.result().task(first)
    except Exception as error:  # noqa: BLE001  is raised again where somebody asks for a picture
        log.warning("%s cannot be loaded: %s", first, error)
    _fulfil(examples, lambda: example_pictures(home))


def _fulfil(future: Future[Result], make: Callable[[], Result]) -> None:
    try:
        future.set_result(make())
    except Exception as error:  # noqa: BLE001  is raised where somebody waits for it
        future.set_exception(error)


def _launch(page: Any, address: Address, looks: Mapping[str, Any]) -> str:
    if not is_local(address.host) and address.auth is None:
        log.warning("whoever reaches %s may use the page: --auth USER:PASSWORD asks for a password", address.host)
    try:
        _, local, _ = page.launch(
            server_name=address.host,
            server_port=address.port,
            root_path=address.root_path,
            auth=address.auth,
            max_file_size=f"{address.most_upload}mb",
            app_kwargs={"middleware": [Middleware(Guard, address.most_upload)]},
            allowed_paths=[],
            run_history=False,
            footer_links=["api"],
            share=False,
            inbrowser=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            quiet=True,
            prevent_thread_lock=True,
            **looks,
        )
    except OSError as error:
        raise PgpisError(f"cannot serve at port {address.port}: {error}", hint="--port 7861") from error
    return str(local)

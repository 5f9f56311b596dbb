"""Starts the workers and the one process that answers."""

from __future__ import annotations

import logging
import math
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvicorn
from litserve import LitServer  # type: ignore[import-untyped]
from litserve.connector import check_cuda_with_nvidia_smi  # type: ignore[import-untyped]
from litserve.utils import wrap_litserve_start  # type: ignore[import-untyped]

from pgpis.errors import PgpisError
from pgpis.interrupts import Stopped, answered
from pgpis.jobs import born_deaf
from pgpis.service.app import create_app
from pgpis.service.desk import Desk
from pgpis.service.settings import KEY_VARIABLE, ServiceSettings
from pgpis.service.worker import Load, PictureAPI
from pgpis.studio.uploads import is_local

WATCH_SECONDS = 0.5
"""After which it is noticed that a worker died."""

log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Finishes requests under way also when its terminal is closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Answer all signals that end a job."""
        with super().capture_signals(), answered(self.handle_exit):
            yield


def run(settings: ServiceSettings, load: Load) -> int:
    """Answer requests until a signal ends it, and return the exit code of this signal.

    Args:
        settings: They are checked already.
        load: Builds the task of a pipeline; the workers import it.

    Raises:
        PgpisError: The address is taken, or no worker can start.
    """
    accelerator, devices = _devices(settings)
    with _listening(settings) as listener, tempfile.TemporaryDirectory(prefix="pgpis-serve-") as folder:
        api = PictureAPI(
            load,
            settings.models(),
            Path(folder),
            len(devices),
            settings.lazy,
            not settings.no_mark,
            settings.max_batch,
            settings.batch_timeout,
        )
        server = LitServer(
            api,
            accelerator=accelerator,
            devices=devices if accelerator == "cuda" else 1,
            workers_per_device=1 if accelerator == "cuda" else len(devices),
            timeout=settings.limits.timeout,
            restart_workers=True,
        )
        server.monitor_internal = WATCH_SECONDS
        api.waiting.mkdir()
        desk = Desk(server, api.waiting, settings.limits.timeout)
        server.app = create_app(settings, desk.ask, desk.ready, len(devices), server.lifespan)
        # LitServer.run would answer in processes of their own, where a request never hears that its worker has died
        with ExitStack() as stack:
            with born_deaf():  # the service ends them
                stack.enter_context(wrap_litserve_start(server, worker_monitor=True))
            try:
                return _answer(server, listener, settings)
            finally:
                logging.getLogger("litserve").setLevel(logging.CRITICAL)  # the watch is not told of the end


def _answer(server: LitServer, listener: socket.socket, settings: ServiceSettings) -> int:
    """Wait for a worker, then serve; return the exit code."""
    try:
        server.verify_worker_status()
    except RuntimeError as error:
        raise PgpisError("no worker could start: the lines above say why") from error
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("listening on http://%s:%d: /docs describes the service, Ctrl-C ends it", shown, port)
    if not is_local(settings.host) and settings.api_key is None:
        log.warning("everybody who reaches %s:%d can use it: set $%s", shown, port, KEY_VARIABLE)
    config = uvicorn.Config(
        server.app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.limits.timeout),
    )
    try:
        _Server(config).run([listener])
    except Stopped as stop:  # requests under way are finished; uvicorn raises the signal again
        return stop.code
    return 0


def _listening(settings: ServiceSettings) -> socket.socket:
    """Take the address before models are loaded.

    Raises:
        PgpisError: It cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PgpisError(
            f"cannot listen on {settings.host}:{settings.port}: {reason}", hint="another --host or --port"
        ) from error


def _devices(settings: ServiceSettings) -> tuple[str, list[int]]:
    """Return the kind of device, and which of them each worker takes."""
    count = check_cuda_with_nvidia_smi() if settings.device != "cpu" else 0
    if settings.device == "cuda" and not count:
        raise PgpisError("--device cuda: nvidia-smi finds no GPU", hint="--device cpu")
    workers = settings.workers or max(1, count)
    return ("cuda", [number % count for number in range(workers)]) if count else ("cpu", [0] * workers)

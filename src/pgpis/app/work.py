"""Drawing that tells how far it is, and ends when it is asked to."""

from __future__ import annotations

import html
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, TypeVar

import gradio as gr
from PIL import Image

from pgpis.errors import PgpisError

if TYPE_CHECKING:  # load torch
    from pgpis.predictions import Prediction
    from pgpis.studio.request import PictureRequest
    from pgpis.studio.studio import Read, Studio

log = logging.getLogger(__name__)
Result = TypeVar("Result")

SECONDS_BETWEEN_PREVIEWS = 0.7
SECONDS_BETWEEN_LOOKS = 0.1
GENERAL_MESSAGE = "Something went wrong here, and it is not your input. The log of the server says more."


class StoppedError(Exception):
    """The visitor asked to stop, or left."""


@dataclass(frozen=True)
class News:
    """How far some work is."""

    text: str
    share: float | None = None
    """Of 1; None: it cannot be said."""
    preview: Image.Image | None = None

    @property
    def html(self) -> str:
        """A line for the page."""
        value = "" if self.share is None else f' value="{self.share:.3f}"'
        text = html.escape(self.text)
        return f'<label class="news">{text} <progress max="1"{value} aria-label="{text}"></progress></label>'


Tell = Callable[[News], None]


def told(job: Callable[[Tell], Result], stop: Event) -> Iterator[News | Result]:
    """Do a job in a thread, and yield what it tells, then what it returns.

    Args:
        job: Is given what tells news, which raises where it was asked to stop.
        stop: Asks it to stop. Is set when nobody listens any more.

    Raises:
        StoppedError: ``stop`` was set.
    """
    queue: SimpleQueue[News | Future[Result]] = SimpleQueue()

    def tell(news: News) -> None:
        if stop.is_set():
            raise StoppedError
        queue.put(news)

    executor = ThreadPoolExecutor(1, thread_name_prefix="page")
    executor.submit(job, tell).add_done_callback(queue.put)
    executor.shutdown(wait=False)
    try:
        while True:
            try:
                item = queue.get(timeout=SECONDS_BETWEEN_LOOKS)
            except Empty:
                if stop.is_set():
                    raise StoppedError from None
                continue
            if isinstance(item, Future):
                yield item.result()
                return
            yield item
    finally:
        stop.set()


def draw(
    opening: Future[Studio],
    model: str,
    requests: Callable[[str], Sequence[PictureRequest]],
    conditions: Path,
    tell: Tell,
) -> tuple[list[Read], list[list[Prediction]]]:
    """Draw the pictures of requests of equal drawings.

    Args:
        opening: The studio, once it is there.
        model: Its name for the model.
        requests: Returns what is asked of the model; called once the studio is there.
        conditions: Folder for what is made of photographs.
        tell: Is told news.

    Raises:
        PgpisError: See ``Studio``.
        StoppedError: What ``tell`` raises.
    """
    tell(News("Loading the model"))
    studio = opening.result()
    studio.task(model)
    tell(News("Reading the pictures"))
    read = [studio.read(model, request, conditions) for request in requests(model)]
    tell(News("Waiting for the model"))
    last = 0.0

    def on_step(step: int, steps: int, preview: Callable[[], Image.Image]) -> None:
        nonlocal last
        is_due = time.monotonic() - last > SECONDS_BETWEEN_PREVIEWS and step < steps
        tell(News(f"{model}: step {step} of {steps}", step / steps, preview() if is_due else None))
        if is_due:
            last = time.monotonic()

    return read, studio.draw(model, read, on_step)


@contextmanager
def one_message(folder: Path) -> Iterator[None]:
    """Tell any error in one message, without the paths of this machine.

    Raises:
        gr.Error: What a visitor is told.
        StoppedError: As it is.
    """
    try:
        yield
    except (StoppedError, gr.Error, GeneratorExit):
        raise
    except PgpisError as error:
        raise gr.Error(html.escape(without_paths(error.message, folder), quote=False), print_exception=False) from error
    except Exception as error:  # of strangers' input and of this code: visitors are told nothing of its inside
        log.error("%s: %s", type(error).__name__, "--debug shows the traceback")  # noqa: TRY400  it may name files
        log.debug("%s", traceback.format_exc())
        raise gr.Error(GENERAL_MESSAGE, print_exception=False) from error


def without_paths(message: str, folder: Path) -> str:
    """Call the files of a visitor by their names alone."""
    words = message.split(" ")
    return " ".join(Path(word).name if str(folder) in word else word for word in words)

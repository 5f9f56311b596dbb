"""What the page shows of finished pictures, as files that a visitor may take along."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from pgpis.app.guard import ASKED
from pgpis.app.sessions import Visitor
from pgpis.app.work import News, StoppedError, Tell, one_message, told

if TYPE_CHECKING:  # load torch
    from pgpis.predictions import Prediction
    from pgpis.studio.studio import Read

STATUS_ROLE = "element.setAttribute('role', 'status'); element.setAttribute('aria-live', 'polite');"

REPLACED = "another request of the same client took its place; one Client for each job"


@dataclass(frozen=True)
class Results:
    """The components that show pictures while they are made and when they are done."""

    status: gr.HTML
    pictures: gr.Gallery
    slider: gr.ImageSlider
    seen: gr.Gallery
    download: gr.DownloadButton

    @property
    def all(self) -> list[Any]:
        """In the order in which endpoints return them."""
        return [self.status, self.pictures, self.slider, self.seen, self.download]


def status_line() -> gr.HTML:
    """Return where news are told, also to those who hear the page."""
    return gr.HTML("", label="Status", js_on_load=STATUS_ROLE, elem_classes="status")


def result_components(before: str) -> Results:
    """Lay out where results are shown.

    Args:
        before: What the picture is that a result is compared with.
    """
    status = status_line()
    pictures = gr.Gallery(
        label="Pictures",
        columns=2,
        fit_columns=False,
        height=360,
        object_fit="contain",
        interactive=False,
        buttons=["fullscreen"],
    )
    download = gr.DownloadButton("Download PNG")
    slider = gr.ImageSlider(
        label=f"{before} and result", type="filepath", image_mode=None, interactive=False, max_height=420
    )
    with gr.Accordion("What the model saw", open=False):
        seen = gr.Gallery(
            label="What the model saw", columns=3, object_fit="contain", interactive=False, buttons=["fullscreen"]
        )
    pictures.select(_chosen, pictures, download, api_visibility="private", show_progress="hidden", queue=False)
    return Results(status, pictures, slider, seen, download)


def _chosen(pictures: list[tuple[str, str | None]], event: gr.SelectData) -> str:
    return pictures[int(event.index)][0]


def shown(
    visitor: Visitor, request: gr.Request, job: Callable[[Path, Tell], list[Any]], outputs: int
) -> Iterator[list[Any]]:
    """Do a job, and yield what components show of it: a status, and what is made.

    Args:
        visitor: Who asked for it; whatever they asked for before is stopped.
        request: By which they did.
        job: Is given a folder for results and what tells news; returns what is shown in the end.
        outputs: Number of components; the second one shows previews.

    Raises:
        gr.Error: What a visitor is told; programs also that what they asked for next took its place.
    """
    folder, stop = visitor.begin(getattr(request.state, ASKED))

    def work(tell: Tell) -> list[Any]:
        with visitor.at_work():
            return job(folder, tell)

    rest = [gr.skip()] * (outputs - 2)
    try:
        with one_message(visitor.folder):
            for item in told(work, stop):
                yield [item.html, _preview(item, folder), *rest] if isinstance(item, News) else item
    except StoppedError:
        if stop.is_for_newer and "origin" not in request.headers:  # browsers name one: somebody pressed a button
            raise gr.Error(REPLACED, print_exception=False) from None
        yield ["<p>Stopped</p>", None, *rest]


def _preview(news: News, folder: Path) -> Any:
    if news.preview is None:
        return gr.skip()
    path = folder / f"preview-{round((news.share or 0) * 1000):04d}.jpg"
    news.preview.save(path, quality=80)
    return [(str(path), news.text)]


def done(photos: int) -> str:
    """Return the status of what is made of so many photos of a person."""
    return "Done" if photos == 1 else f"Done, of {photos} photos of the person"


def finished(text: str, pictures: Sequence[tuple[Path, str]], before: Path, read: Read, folder: Path) -> list[Any]:
    """Return what the components of ``Results`` show in the end.

    Args:
        text: For the status.
        pictures: Files and captions; the first is compared.
        before: File of what it is compared with.
        read: What the model saw.
        folder: Of the results.
    """
    first = pictures[0][0]
    return [
        f"<p>{text}</p>",
        [(str(path), caption) for path, caption in pictures],
        (str(before), str(first)),
        seen_pictures(read, folder),
        str(first),
    ]


def seen_pictures(read: Read, folder: Path) -> list[tuple[str, str]]:
    """Write what a model saw, and return files and captions."""
    files = [(folder / f"seen-{number}.png", image, label) for number, (label, image) in enumerate(read.seen.items())]
    for path, image, _ in files:
        image.save(path)
    return [(str(path), label) for path, _, label in files]


def save(predictions: Sequence[Prediction], folder: Path, name: str) -> list[Path]:
    """Write pictures as PNGs."""
    paths = [folder / f"{name}-{number}.png" for number, _ in enumerate(predictions, 1)]
    for path, prediction in zip(paths, predictions, strict=True):
        path.write_bytes(prediction.png())
    return paths


def save_source(read: Read, size: tuple[int, int], folder: Path) -> Path:
    """Write the source as models read it, at the size of a result."""
    path = folder / "source.png"
    read.seen["source"].resize(size).save(path)
    return path

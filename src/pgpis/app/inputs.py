"""What several tabs ask for beside a pose: a person, and how to draw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from pgpis.app.desk import QUIET, Desk
from pgpis.app.given import list_of
from pgpis.app.offers import Offer
from pgpis.app.sessions import Visitor
from pgpis.app.uploads import PICTURE_TYPES, Upload, Uploads
from pgpis.errors import PgpisError
from pgpis.studio.request import MOST_PHOTOS, Drawing, check_photos


def photo_of(label: str) -> gr.Image:
    """Return the input of a photo; endpoints get the file as it was uploaded."""
    return gr.Image(
        label=label, type="filepath", image_mode=None, sources=["upload", "webcam", "clipboard"], height=300, buttons=[]
    )


class PersonInputs(NamedTuple):
    """The photos of a person."""

    photo: gr.Image
    """The one that a pose is found in, and that results are compared with."""
    further: gr.Gallery
    """Others of the same person."""


def person_inputs(desk: Desk, page: gr.Blocks) -> PersonInputs:
    """Lay out the input of a person's photo, with examples and further photos below.

    Args:
        desk: Has the examples.
        page: Loads them when it is opened.
    """
    label = "Photo of the person"
    photo = photo_of(label)
    gallery = gr.Gallery(
        label=f"{label}: examples",
        columns=4,
        allow_preview=False,
        object_fit="contain",
        interactive=False,
        buttons=[],
        elem_classes="thumbnails",
    )

    with gr.Accordion(f"Further photos (up to {MOST_PHOTOS - 1})", open=False):
        further = gr.Gallery(
            label="Photos of the same person",
            type="filepath",
            file_types=PICTURE_TYPES,
            sources=["upload"],
            columns=3,
            allow_preview=False,
            object_fit="contain",
            interactive=True,
            buttons=[],
            elem_classes="thumbnails",
        )

    def examples(request: gr.Request) -> list[tuple[str, str]]:
        visitor = desk.visitor(request)
        paths = [visitor.lend(path) for path in desk.examples.result()]
        return [(str(path), f"example {number}") for number, path in enumerate(paths, 1)]

    def choose(event: gr.SelectData, request: gr.Request) -> tuple[str, None]:
        return examples(request)[int(event.index)][0], None

    page.load(examples, None, gallery, api_visibility="private", show_progress="hidden")
    # the further photos of somebody else would become part of this person
    gallery.select(choose, None, [photo, further], **QUIET)
    photo.clear(lambda: None, None, further, **QUIET)
    return PersonInputs(photo, further)


def person_of(visitor: Visitor, photo: Upload, further: Uploads) -> tuple[Path, ...]:
    """Return the photos of a person, under names of the page's own.

    Raises:
        PgpisError: One is missing or not taken, or there are too many.
    """
    others = list_of(further, "further photo") if further else ()
    uploads = [photo, *(entry.get("image") if isinstance(entry, dict) else None for entry in others)]
    check_photos(len(uploads))
    names = ["Photo", *(f"Photo {number}" for number in range(2, len(uploads) + 1))]
    return tuple(visitor.picture(upload, name) for upload, name in zip(uploads, names, strict=True))


@dataclass(frozen=True)
class More:
    """The settings that most people leave alone."""

    model: gr.Dropdown
    steps: gr.Number
    guidance: gr.Number
    seed: gr.Number
    pictures: gr.Slider
    height: gr.Number
    width: gr.Number

    @property
    def drawing(self) -> list[Any]:
        """Without the model, in the order of :func:`drawing_of`."""
        return [self.steps, self.guidance, self.seed, self.pictures, self.height, self.width]


def more_inputs(desk: Desk, model: str, *, with_size: bool = True) -> More:
    """Lay out model, steps and so on, with what the pipeline of ``model`` does by itself."""
    offer = desk.offers[model]
    with gr.Accordion("More", open=False):
        chosen = gr.Dropdown(list(desk.offers), value=model, label="Model")
        with gr.Row():
            steps = gr.Number(offer.steps, label="Steps", precision=0, minimum=1, maximum=200, min_width=110)
            guidance = gr.Number(offer.guidance, label="Guidance", minimum=0, maximum=30, step=0.5, min_width=110)
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=110)
        pictures = gr.Slider(1, 8, value=1, step=1, label="Number of pictures", buttons=[])
        with gr.Row(visible=with_size):
            height = gr.Number(offer.height, label="Height in pixels", precision=0, step=16, min_width=110)
            width = gr.Number(offer.width, label="Width in pixels", precision=0, step=16, min_width=110)

    def defaults(name: str) -> list[Any]:
        offer = desk.offers[name]
        return [offer.steps, offer.guidance, offer.height, offer.width]

    changed = [steps, guidance, height, width]
    chosen.input(defaults, chosen, changed, **QUIET)
    return More(chosen, steps, guidance, seed, pictures, height, width)


def drawing_of(
    offer: Offer,
    steps: int | None,
    guidance: float | None,
    seed: int | None,
    pictures: int,
    height: int | None,
    width: int | None,
) -> Drawing:
    """Return how pictures are drawn; an empty field is what the pipeline does by itself.

    Raises:
        PgpisError: A number is out of range.
    """
    size = None
    if (height, width) not in ((None, None), (offer.height, offer.width)):
        height, width = offer.height if height is None else height, offer.width if width is None else width
        if height is None or width is None:
            raise PgpisError("height and width go together: this pipeline does not say its own before it is loaded")
        size = (height, width)
    return Drawing(steps=steps, guidance_scale=guidance, size=size, seed=seed or 0, pictures=pictures)

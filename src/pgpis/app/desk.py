"""What all tabs work with."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from pgpis.app.given import one_of
from pgpis.app.offers import Offer
from pgpis.app.predicting import Batches
from pgpis.app.sessions import Visitor, Visitors
from pgpis.studio.request import Drawing

if TYPE_CHECKING:
    from pgpis.studio.studio import Studio  # loads torch

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
"""For events that answer at once and are nothing for other programs."""
PICTURES: dict[str, Any] = {"concurrency_id": "pictures", "concurrency_limit": 4, "preprocess": False}
"""For endpoints that draw. Gradio would decode pictures by itself: here the readers of the models do.

Each endpoint spells out its arguments, though many are the same: Gradio's API takes their names from the signature.
"""
BATCHES: dict[str, Any] = PICTURES | {"concurrency_id": "batches"}
"""For endpoints that run ``pgpis predict``."""


@dataclass(frozen=True)
class Desk:
    """What all tabs work with."""

    opening: Future[Studio]
    """The studio; loading what it needs goes on beside the page."""
    visitors: Visitors
    offers: Mapping[str, Offer]
    """By the names that the studio has for the models too."""
    examples: Future[list[Path]]
    """Pictures of people to begin with."""
    batches: Batches
    home: Path
    """Folder from which the page's own pictures are served."""

    def visitor(self, request: gr.Request) -> Visitor:
        """Return who asks."""
        return self.visitors.of(request.session_hash)

    def offer(self, model: str) -> Offer:
        """Return a model that is offered.

        Raises:
            PgpisError: There is none of this name.
        """
        return self.offers[one_of(model, self.offers, "model")]

    def words(self, model: str, drawing: Drawing) -> list[str]:
        """Return what ``pgpis predict`` is given so that it draws as the studio does, at the pipeline's own size."""
        numbers = {
            "--steps": drawing.steps,
            "--guidance-scale": drawing.guidance_scale,
            "--seed": drawing.seed,
            "--images-per-pair": drawing.pictures,
        }
        given = [str(word) for pair in numbers.items() if pair[1] is not None for word in pair]
        # as a key of the recipe, which models may have that read no texture
        tools = ["--missing-face", "drop", "--data.predict.init_args.settings.inpaint", "fast"]
        tools += ["--save-conditions", "conditions"]  # beside the results: what is made of photos goes with the visitor
        return ["--pipeline", self.offer(model).pipeline, *tools, *given]

    def stop(self, request: gr.Request) -> None:
        """Stop what is being made for this visitor.

        What makes it says so on the page: a second answer here could come after that one.
        """
        self.visitor(request).end()


def make_and_stop(label: str) -> tuple[gr.Button, gr.Button]:
    """Lay out, in a row, the button that begins and the one that stops what was begun."""
    with gr.Row():
        make = gr.Button(label, variant="primary", min_width=140)
        stop = gr.Button("Stop", variant="stop", min_width=90)
    return make, stop

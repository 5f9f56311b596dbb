"""The loss on where the attention to a reference looks, as tasks have it: whose attention, which pictures, a grid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from pgpis.batch import PairBatch
from pgpis.denoiser.flow import AttentionRecord, FlowPictures, Layers, counted, fetched, flow_of
from pgpis.errors import PgpisError
from pgpis.tasks.training_data import TrainingData

ONE_SOURCE = "step.flow_loss leads into one source of a pair"


class FlowPort(NamedTuple):
    """How a method's denoiser attends to a reference picture."""

    layers: Layers
    """Which of its layers do."""
    picture: str
    """Batch key of the picture."""
    condition: str
    """The condition whose dropping leaves it out."""
    person: Callable[[PairBatch], torch.Tensor] | None = None
    """Where the person is in the target, bool ``(B, 1, H, W)``; None: nobody knows."""

    def check(self, data: TrainingData) -> None:
        """Refuse data whose pairs have several sources, where attention reads the tokens of each.

        Raises:
            PgpisError: They have.
        """
        if self.picture == "source_image":
            data.require_one_source(ONE_SOURCE)

    def pictures(self, batch: PairBatch) -> FlowPictures:
        """Return what flows are judged by.

        Raises:
            PgpisError: Attention reads the tokens of several sources.
        """
        entries: dict[str, Any] = dict(batch)
        if self.picture == "source_image" and "source_count" in entries:
            raise PgpisError(f"{ONE_SOURCE}, and pairs have several", hint="most_sources: 1")
        person = None if self.person is None else self.person(batch)
        return FlowPictures(entries[self.picture], entries["target_image"], person)


def flow_columns(
    records: list[AttentionRecord], pictures: FlowPictures, latent_size: tuple[int, int], temperature: float
) -> list[torch.Tensor]:
    """Draw where the layers that count look: columns of B pictures in [-1, 1].

    They are the reference, the target and, for each size of layers, the finest first, what their mean flow fetches and
    the flow itself: red grows with x in the reference, green with y.
    """
    size = (pictures.target.shape[-2], pictures.target.shape[-1])
    rows = torch.arange(len(pictures.target), device=pictures.target.device)
    flows: dict[int, list[torch.Tensor]] = defaultdict(list)
    for record in counted(records, size[0], latent_size):
        flow = flow_of(record, rows, latent_size, temperature)
        flows[flow.shape[2]].append(flow)
    columns = [F.interpolate(pictures.reference.float(), size, mode="bilinear"), pictures.target]
    for height in sorted(flows, reverse=True):
        flow = torch.stack(flows[height]).mean(dim=0)
        places = F.interpolate(F.pad(flow, (0, 0, 0, 0, 0, 1), value=-1.0), size)
        columns += [fetched(pictures.reference, flow, size), places]
    return columns

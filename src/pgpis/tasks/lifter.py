"""Training the lifter: from key points and silhouettes, as wrong as a detector's, to DensePose's map."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import OptimizerCallable

from pgpis.batch import ImageSpec, InputSpecs, PairBatch, VectorSpec
from pgpis.errors import check_range
from pgpis.models.lifter import BODY18_COUNT, LIFTED_POINTS, SurfaceLifter, lift
from pgpis.pictures.iuv import PART_CHANNEL, U_CHANNEL, V_CHANNEL
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.grids import picture_grid
from pgpis.tasks.options import Schedule

PLACE_WEIGHT = 4.0
"""Of the error of U and V; that of the parts counts once."""
BACKGROUND_WEIGHT = 0.2
"""Of a pixel that is neither in the silhouette nor on the person."""
VISIBLE = 2
"""A point that the picture shows; 1: one behind something, which detectors guess; 0: one outside."""
FRONT_OF_HEAD = (0, 14, 15)
ZOOM, TURN, SHIFT = (0.65, 2.2), 0.12, (0.10, 0.14)
"""Of the frame: least and largest enlargement, deviations of turn (radians) and shift (shares of width and height)."""
JITTER, FAR_JITTER, FAR = 0.008, 0.035, 0.06
"""Deviation of points, and of the share FAR of them, in heights of the picture before the enlargement."""
LOST, LOST_PICTURES = 0.25, 0.3
"""Largest share of points that are unknown, in the share LOST_PICTURES of pictures."""
EDGE, WAVES, HOLE = 4, 0.35, 0.15
"""Of silhouettes: most pixels by which they grow or shrink, how much the edge waves, probability of a hole."""


Draw = Callable[..., torch.Tensor]


class LifterTask(PersonImageTask):
    """Trains :class:`SurfaceLifter` on people whose map is known: drawn ones.

    Args:
        channels: See the net.
        head_channels: See the net.
        height: Rows of a picture in pixels, a multiple of 4.
        width: Columns of a picture in pixels, a multiple of 4.
        optimizer: Makes the optimiser from the parameters to train.
        schedule: How the learning rate changes.
        seed: Seed of training and validation; ``seed_everything`` sets it on the command line.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (32, 64, 128, 192),
        head_channels: int = 24,
        height: int = 128,
        width: int = 88,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
        schedule: Schedule = Schedule(),
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, schedule, seed)
        check_range("height", height, 4, whole=True)
        check_range("width", width, 4, whole=True)
        self.height = height
        self.width = width
        self.lifter = SurfaceLifter(tuple(channels), head_channels, height=height, width=width)
        self.lifter.to(memory_format=torch.channels_last)

    @property
    def input_specs(self) -> InputSpecs:
        """The map, the silhouette and the points of the target."""
        return {
            "pose_image": ImageSpec("iuv", self.height, self.width, filter="nearest"),
            "silhouette": ImageSpec("silhouette", self.height, self.width, filter="nearest"),
            "points": VectorSpec("points", 3 * LIFTED_POINTS),
        }

    def loss(self, batch: PairBatch, generator: torch.Generator, *, train: bool) -> dict[str, torch.Tensor]:
        """Compute the errors of parts and coordinates, in training and validation with a detector's errors."""
        points, silhouette, truth = disturbed(*_inputs(batch), generator)
        parts, places = self.lifter(points, silhouette)
        target = F.interpolate(truth, size=parts.shape[-2:], mode="nearest-exact")
        part = (target[:, PART_CHANNEL] * 255).round().long()
        person = part > 0
        matters = person | (F.max_pool2d(silhouette, 2)[:, 0] > 0)
        weights = torch.where(matters, 1.0, BACKGROUND_WEIGHT)
        named = (F.cross_entropy(parts, part, reduction="none") * weights).sum() / weights.sum()
        chosen = (part - 1).clamp(min=0)[:, None, None].expand(-1, 1, 2, -1, -1)
        place = places.gather(1, chosen)[:, 0]
        error = (place - target[:, [U_CHANNEL, V_CHANNEL]]).abs() * person[:, None]
        placed = error.sum() / (2 * person.sum() + 1)
        right = (parts.argmax(dim=1) == part)[person].float().mean()
        return {"loss": named + PLACE_WEIGHT * placed, "parts": named, "places": placed, "accuracy": right}

    @torch.no_grad()
    def sample_grid(self, batch: PairBatch, rows: int) -> torch.Tensor:
        """Draw silhouette | map | map by the net, without errors of a detector."""
        points, silhouette, truth = (value[:rows] for value in _inputs(batch))
        lifted = lift(self.lifter, points, silhouette)
        return picture_grid([silhouette.expand(-1, 3, -1, -1) * 2 - 1, truth * 2 - 1, lifted])

    def exported(self) -> tuple[str, Any]:
        """Export the lifter."""
        return "lifter", self.lifter


def _inputs(batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return points ``(B, 26, 3)``, silhouette ``(B, 1, H, W)`` and map ``(B, 3, H, W)`` in [0, 1], as labelled."""
    points = batch["points"].view(-1, LIFTED_POINTS, 3)
    return points, (batch["silhouette"][:, :1] > 0).float(), batch["pose_image"] / 2 + 0.5


def disturbed(
    points: torch.Tensor,
    silhouette: torch.Tensor,
    iuv: torch.Tensor,
    generator: torch.Generator,
    *,
    reframe: bool = True,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Show people through another frame, with points and silhouettes as wrong as a detector's.

    Args:
        points: ``(B, 26, 3)`` x, y as shares of the picture, and 0, 1 or 2 for outside, hidden or visible.
        silhouette: ``(B, 1, H, W)``, 0 or 1.
        iuv: ``(B, 3, H, W)`` in [0, 1].
        generator: Source of all random draws.
        reframe: False leaves the frame as it is.

    Returns:
        The same, but 1 or 0 for points that are known or not.
    """
    count, device = len(points), points.device

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator, device=device)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=device)

    low, high = map(math.log, ZOOM)
    zoom = torch.exp(low + (high - low) * uniform(count))
    height, width = silhouette.shape[-2:]
    turn, shift = TURN * normal(count), normal(count, 2) * points.new_tensor(SHIFT)
    if not reframe:
        zoom, turn, shift = torch.ones_like(zoom), torch.zeros_like(turn), torch.zeros_like(shift)
    frame = _frame(zoom, turn, shift, width / height)
    grid = F.affine_grid(frame, [count, 1, height, width], align_corners=False)
    iuv = F.grid_sample(iuv, grid, mode="nearest", align_corners=False)
    silhouette = F.grid_sample(silhouette, grid, mode="nearest", align_corners=False)

    seen = points[..., 2].clone()
    seen[:, FRONT_OF_HEAD] = torch.where(seen[:, FRONT_OF_HEAD] == VISIBLE, 1.0, 0.0)  # nobody guesses these on backs
    far = torch.where(uniform(count, LIFTED_POINTS) < FAR, FAR_JITTER, JITTER)
    noise = normal(count, LIFTED_POINTS, 2) * far[..., None] * points.new_tensor([height / width, 1.0])
    offsets = (points[..., :2] + noise) * 2 - 1 - frame[:, None, :, 2]
    placed = torch.linalg.solve(frame[:, None, :, :2].expand(-1, LIFTED_POINTS, -1, -1), offsets) / 2 + 0.5
    inside = ((placed >= 0) & (placed < 1)).all(dim=-1)
    lost = LOST * uniform(count, 1) * (uniform(count, 1) < LOST_PICTURES)
    known = (seen > 0) & inside & (uniform(count, LIFTED_POINTS) >= lost)
    known[:, BODY18_COUNT:] &= uniform(count, 1) >= LOST_PICTURES  # OpenPose's 18 alone
    return torch.cat([placed, known.float()[..., None]], dim=-1), _roughened(silhouette, uniform, normal), iuv


def _frame(zoom: torch.Tensor, turn: torch.Tensor, shift: torch.Tensor, aspect: float) -> torch.Tensor:
    """Return ``(B, 2, 3)`` for ``affine_grid``; ``aspect`` is width by height."""
    cos, sin = torch.cos(turn) / zoom, torch.sin(turn) / zoom
    rows = [torch.stack([cos, -sin / aspect], dim=-1), torch.stack([sin * aspect, cos], dim=-1)]
    return torch.cat([torch.stack(rows, dim=1), 2 * shift[..., None]], dim=-1)


def _roughened(silhouette: torch.Tensor, uniform: Draw, normal: Draw) -> torch.Tensor:
    """Move the edges of silhouettes in waves, let some grow or shrink, and cut holes into a few."""
    count, _, height, width = silhouette.shape
    waves = F.interpolate(normal(count, 1, height // 16, width // 16), size=(height, width), mode="bicubic")
    drawn = F.avg_pool2d(silhouette, 2 * EDGE + 1, stride=1, padding=EDGE)
    level = 0.5 + (uniform(count, 1, 1, 1) - 0.5) * 0.7 + WAVES * waves * uniform(count, 1, 1, 1)
    rough = (drawn > level.clamp(0.03, 0.97)).float()
    middle = uniform(count, 2, 1, 1)
    y = torch.linspace(0, 1, height, device=silhouette.device).view(1, height, 1)
    x = torch.linspace(0, 1, width, device=silhouette.device).view(1, 1, width)
    size = 0.02 + 0.08 * uniform(count, 2, 1, 1)
    hole = ((y - middle[:, 0]) / size[:, 0]) ** 2 + ((x - middle[:, 1]) / size[:, 1]) ** 2 < 1
    hole &= uniform(count, 1, 1) < HOLE
    return rough * ~hole[:, None]

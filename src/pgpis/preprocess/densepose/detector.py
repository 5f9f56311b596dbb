"""Finding people: region proposals, and the boxes made of them.

torchvision's own anchors, level mapper and filters round or order differently; these follow detectron2's numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection._utils import BoxCoder  # private to torchvision, but what its own detectors use
from torchvision.ops import batched_nms, clip_boxes_to_image, roi_align

from pgpis.preprocess.densepose.backbone import LEVELS, STRIDES
from pgpis.preprocess.densepose.config import DensePoseConfig

ANCHOR_SIDES = {"p2": 32, "p3": 64, "p4": 128, "p5": 256, "p6": 512}
RATIOS = (0.5, 1.0, 2.0)
"""Height by width."""
PROPOSALS = 1000
"""Kept of each level before suppression, and of all after it."""
PROPOSAL_OVERLAP = 0.7
BOX_LEVELS = LEVELS[:4]
BOX_POOL = 7
ANCHOR_CODER, BOX_CODER = BoxCoder((1.0, 1.0, 1.0, 1.0)), BoxCoder((10.0, 10.0, 5.0, 5.0))
"""Move and scale boxes by predicted offsets."""
CANONICAL_SIDE, CANONICAL_LEVEL = 224, 4
LEAST_SCORE = 0.05
BOX_OVERLAP = 0.5
MOST_DETECTIONS = 100

Size = tuple[int, int]
Features = Mapping[str, torch.Tensor]


class ProposalHead(nn.Module):
    """Scores and offsets of anchors, shared by all levels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness_logits = nn.Conv2d(channels, len(RATIOS), 1)
        self.anchor_deltas = nn.Conv2d(channels, 4 * len(RATIOS), 1)

    def forward(self, features: Features) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return logits ``(B, 3, h, w)`` and deltas ``(B, 12, h, w)`` of each level."""
        hidden = [F.relu(self.conv(features[level])) for level in LEVELS]
        return [self.objectness_logits(map_) for map_ in hidden], [self.anchor_deltas(map_) for map_ in hidden]


class ProposalGenerator(nn.Module):
    """The region proposal network."""

    def __init__(self, config: DensePoseConfig) -> None:
        super().__init__()
        self.rpn_head = ProposalHead(config.fpn_channels)

    def forward(self, features: Features, sizes: Sequence[Size]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Propose regions for each picture.

        Args:
            features: The pyramid.
            sizes: (height, width) of each picture in the net, without padding.

        Returns:
            Boxes ``(N, 4)`` in pixels of the net and logits ``(N,)``, best first.
        """
        logits, deltas = self.rpn_head(features)
        return [
            propose([map_[index] for map_ in logits], [map_[index] for map_ in deltas], size)
            for index, size in enumerate(sizes)
        ]


def propose(
    logits: Sequence[torch.Tensor], deltas: Sequence[torch.Tensor], size: Size
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn the proposal head's maps of one picture into boxes; see :class:`ProposalGenerator`."""
    boxes, scores, levels = [], [], []
    for number, (level, level_logits, level_deltas) in enumerate(zip(LEVELS, logits, deltas, strict=True)):
        height, width = level_logits.shape[-2:]
        flat = level_logits.permute(1, 2, 0).reshape(-1).float()
        offsets = level_deltas.view(len(RATIOS), 4, height, width).permute(2, 3, 0, 1).reshape(-1, 4).float()
        best, chosen = flat.topk(min(PROPOSALS, len(flat)))
        boxes.append(ANCHOR_CODER.decode_single(offsets[chosen], anchors(level, height, width, flat.device)[chosen]))
        scores.append(best)
        levels.append(torch.full_like(chosen, number))
    candidates, confidences, numbers = torch.cat(boxes), torch.cat(scores), torch.cat(levels)
    finite = candidates.isfinite().all(dim=1) & confidences.isfinite()
    candidates = clip_boxes_to_image(candidates, size)
    usable = finite & nonempty(candidates)
    candidates, confidences, numbers = candidates[usable], confidences[usable], numbers[usable]
    survivors = batched_nms(candidates, confidences, numbers, PROPOSAL_OVERLAP)[:PROPOSALS]
    return candidates[survivors], confidences[survivors]


def anchors(level: str, height: int, width: int, device: torch.device) -> torch.Tensor:
    """Return the anchors of a level, ``(h * w * 3, 4)``; neither rounded nor shifted by half a pixel."""
    sides = [(across := math.sqrt(float(ANCHOR_SIDES[level] ** 2) / ratio), ratio * across) for ratio in RATIOS]
    cells = [[-across / 2.0, -down / 2.0, across / 2.0, down / 2.0] for across, down in sides]
    stride = STRIDES[level]
    x = torch.arange(0, width * stride, stride, dtype=torch.float32, device=device)
    y = torch.arange(0, height * stride, stride, dtype=torch.float32, device=device)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack([columns, rows, columns, rows], dim=-1).view(-1, 1, 4)
    return (shifts + torch.tensor(cells, device=device)).view(-1, 4)


def nonempty(boxes: torch.Tensor) -> torch.Tensor:
    """Return which boxes have an area."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


class BoxHead(nn.Module):
    """Two hidden layers over pooled regions."""

    def __init__(self, config: DensePoseConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.fpn_channels * BOX_POOL**2, config.fc_channels)
        self.fc2 = nn.Linear(config.fc_channels, config.fc_channels)

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        """Return ``(N, F)`` of regions ``(N, C, 7, 7)``."""
        return F.relu(self.fc2(F.relu(self.fc1(regions.flatten(1)))))


class BoxPredictor(nn.Module):
    """Class and offsets of a region; the classes are person and, last, background."""

    def __init__(self, config: DensePoseConfig) -> None:
        super().__init__()
        self.cls_score = nn.Linear(config.fc_channels, 2)
        self.bbox_pred = nn.Linear(config.fc_channels, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits ``(N, 2)`` and deltas ``(N, 4)``."""
        return self.cls_score(x), self.bbox_pred(x)


def pool_boxes(features: Features, boxes: torch.Tensor, index: int) -> torch.Tensor:
    """Pool each box of picture ``index`` from the level that suits its size, ``(N, C, 7, 7)``."""
    sides = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    chosen = torch.floor(CANONICAL_LEVEL + torch.log2(sides / CANONICAL_SIDE + 1e-8)).clamp(2, 5).long() - 2
    first = features[BOX_LEVELS[0]]
    pooled = first.new_zeros(len(boxes), first.shape[1], BOX_POOL, BOX_POOL)
    for number, level in enumerate(BOX_LEVELS):
        rows = (chosen == number).nonzero()[:, 0]
        picture = features[level][index : index + 1]
        pooled[rows] = roi_align(picture, [boxes[rows]], BOX_POOL, 1 / STRIDES[level], 2, aligned=False)
    return pooled


def choose_people(
    proposals: torch.Tensor, logits: torch.Tensor, deltas: torch.Tensor, size: Size
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn the predictions of one picture's proposals into people.

    Returns:
        Boxes ``(N, 4)`` in pixels of the net and scores ``(N,)``, best first; at most 100.
    """
    scores = logits.float().softmax(dim=1)[:, 0]
    boxes = BOX_CODER.decode_single(deltas.float(), proposals)
    finite = boxes.isfinite().all(dim=1) & scores.isfinite()
    likely = finite & (scores > LEAST_SCORE)
    boxes, scores = clip_boxes_to_image(boxes[likely], size), scores[likely]
    survivors = batched_nms(boxes, scores, torch.zeros_like(scores, dtype=torch.int64), BOX_OVERLAP)[:MOST_DETECTIONS]
    return boxes[survivors], scores[survivors]

"""DensePose R-CNN: people in pictures and the surface of the most certain one.

The numbers equal detectron2's to the bit (tests/parity/test_densepose.py). Only the best box goes through the DensePose
branch, where most of the time is spent.

Architecture after detectron2 and its DensePose project (Apache-2.0); official weights are CC BY-SA 3.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torchvision.ops import clip_boxes_to_image, roi_align

from pgpis.preprocess.densepose.backbone import STRIDES, FeaturePyramid
from pgpis.preprocess.densepose.config import DensePoseConfig
from pgpis.preprocess.densepose.detector import (
    BoxHead,
    BoxPredictor,
    Features,
    ProposalGenerator,
    Size,
    choose_people,
    nonempty,
    pool_boxes,
)
from pgpis.preprocess.densepose.heads import Decoder, Head, Predictor
from pgpis.preprocess.densepose.surface import Overflow, iuv_image, surface_of
from pgpis.preprocess.settings import refuse_absent

MEAN_BGR = (103.53, 116.28, 123.675)
DIVISOR = 32


@dataclass(frozen=True)
class Detection:
    """One person."""

    box: torch.Tensor
    """x0, y0, x1, y1 in pixels of the picture."""
    net_box: torch.Tensor
    """The same in pixels of the net."""
    score: float


Surface = tuple[NDArray[np.uint8], Detection]
"""A map, ``(H, W, 3)`` of part, U and V, and the person that it shows."""


class RegionHeads(nn.Module):
    """What looks at single regions."""

    def __init__(self, config: DensePoseConfig) -> None:
        super().__init__()
        self.box_head = BoxHead(config)
        self.box_predictor = BoxPredictor(config)
        self.decoder = Decoder(config)
        self.densepose_head = Head(config)
        self.densepose_predictor = Predictor(config)


class DensePoseRCNN(nn.Module):
    """The whole net; module names are detectron2's, so that its weights load strictly."""

    def __init__(self, config: DensePoseConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = FeaturePyramid(config)
        self.proposal_generator = ProposalGenerator(config)
        self.roi_heads = RegionHeads(config)
        self.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @torch.inference_mode()
    def forward(
        self, pictures: Sequence[Image.Image], overflow: Overflow = "clamp", person: int | None = None
    ) -> list[Surface | None]:
        """Return the map of one person in each picture.

        Pictures that have the same size in the net are computed together.

        Args:
            pictures: 8-bit RGB.
            overflow: See :func:`iuv_image`.
            person: None takes the most certain one, as MCLD does; 0 the largest, 1 the second largest, and so on.

        Returns:
            For each picture uint8 ``(H, W, 3)`` of part, U and V, and the person; None where there is nobody.

        Raises:
            PgpisError: A picture shows people, but not so many as ``person`` counts.
        """
        prepared = [resize_input(picture, self.config) for picture in pictures]
        results: list[Surface | None] = [None] * len(pictures)
        groups: dict[Size, list[int]] = {}
        for index, pixels in enumerate(prepared):
            groups.setdefault(pixels.shape[:2], []).append(index)
        for size, members in groups.items():
            features = self.features(normalise([prepared[index] for index in members], self.device))
            originals = [(pictures[index].height, pictures[index].width) for index in members]
            for row, people in enumerate(self.detect(features, size, originals)):
                detection = choose(people, person)
                if detection is not None:
                    picture = {level: map_[row : row + 1] for level, map_ in features.items()}
                    labels, uv = surface_of(self.surface_maps(picture, detection.net_box[None]), detection.box)
                    iuv = iuv_image(labels, uv, detection.box, originals[row], overflow)
                    results[members[row]] = iuv, detection
        return results

    def features(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the pyramid of normalised pictures ``(B, 3, H, W)``."""
        return self.backbone(pixels)

    def detect(self, features: Features, size: Size, originals: Sequence[Size]) -> list[list[Detection]]:
        """Find the people of each picture, most certain first.

        Args:
            features: The pyramid.
            size: (height, width) of the pictures in the net, without padding.
            originals: (height, width) of the pictures themselves.
        """
        detections = []
        proposals = self.proposal_generator(features, [size] * len(originals))
        for index, ((boxes, _), original) in enumerate(zip(proposals, originals, strict=True)):
            hidden = self.roi_heads.box_head(pool_boxes(features, boxes, index))
            logits, deltas = self.roi_heads.box_predictor(hidden)
            people, scores = choose_people(boxes, logits, deltas, size)
            detections.append(_in_picture(people, scores, size, original))
        return detections

    def surface_maps(self, features: Features, boxes: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the predictor's maps ``(N, C, 4p, 4p)`` of boxes ``(N, 4)`` of one picture, in pixels of the net."""
        return self.roi_heads.densepose_predictor(self.surface_features(features, boxes))

    def surface_features(self, features: Features, boxes: torch.Tensor) -> torch.Tensor:
        """Return what the predictor reads, ``(N, C, p, p)``; see :meth:`surface_maps`."""
        return self.roi_heads.densepose_head(self.pool_regions(self.roi_heads.decoder(features), boxes))

    def pool_regions(self, decoded: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Cut boxes out of the decoder's map, ``(N, C, p, p)``."""
        return roi_align(decoded, [boxes.to(decoded.dtype)], self.config.pool_size, 1 / STRIDES["p2"], 2, aligned=False)


def choose(people: Sequence[Detection], person: int | None) -> Detection | None:
    """Return the most certain person, or the ``person``-th by area; None where there is nobody.

    Raises:
        PgpisError: There are people, but not so many.
    """
    if person is None or not people:
        return people[0] if people else None
    refuse_absent("people", len(people), person)
    by_area = sorted(people, key=lambda each: -float((each.box[2:] - each.box[:2]).prod()))
    return by_area[person]


def _in_picture(boxes: torch.Tensor, scores: torch.Tensor, size: Size, original: Size) -> list[Detection]:
    """Bring boxes from pixels of the net to pixels of the picture; boxes that vanish there are dropped."""
    scale = boxes.new_tensor([original[1] / size[1], original[0] / size[0]] * 2)
    scaled = clip_boxes_to_image(boxes * scale, original)
    is_solid = nonempty(scaled)
    return [
        Detection(box, net_box, float(score))
        for box, net_box, score in zip(scaled[is_solid], boxes[is_solid], scores[is_solid], strict=True)
    ]


def resize_input(picture: Image.Image, config: DensePoseConfig) -> NDArray[np.uint8]:
    """Bring a picture to the size that the net was trained for, uint8 BGR ``(H, W, 3)``."""
    width, height = picture.size
    scale = config.min_size / min(height, width)
    rows, columns = (config.min_size, scale * width) if height < width else (scale * height, config.min_size)
    if max(rows, columns) > config.max_size:
        shrink = config.max_size / max(rows, columns)
        rows, columns = rows * shrink, columns * shrink
    resized = picture.resize((int(columns + 0.5), int(rows + 0.5)), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(resized)[..., ::-1])


def normalise(pictures: Sequence[NDArray[np.uint8]], device: torch.device) -> torch.Tensor:
    """Subtract the mean and fill up with zeros on the right and at the bottom, float32 ``(B, 3, H, W)``.

    Args:
        pictures: BGR, all of one size.
        device: Where the result is to be.
    """
    # contiguous as detectron2's: convolutions round differently where channels come last
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(device, torch.float32).contiguous()
    pixels = pixels - pixels.new_tensor(MEAN_BGR).view(1, 3, 1, 1)
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, -width % DIVISOR, 0, -height % DIVISOR))

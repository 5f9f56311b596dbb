"""The same maps by detectron2 itself, for those who have it and a configuration of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.lazy import optional_module
from pgpis.preprocess.densepose.model import Detection, Surface, choose
from pgpis.preprocess.densepose.surface import Overflow, iuv_image

INSTALL = "pip install 'git+https://github.com/facebookresearch/detectron2#subdirectory=projects/DensePose'"


class Detectron2DensePose:
    """Calls like :class:`~pgpis.preprocess.densepose.DensePoseRCNN`.

    Args:
        config: detectron2's ``densepose_rcnn_*.yaml``.
        weights: The net's ``.pkl`` or ``.pth``; detectron2 unpickles it, so take it from people you trust only.
        device: ``cpu`` or ``cuda``.

    Raises:
        PgpisError: detectron2 or its DensePose project is not installed.
    """

    def __init__(self, config: Path, weights: Path, device: str = "cpu") -> None:
        for path in (config, weights):
            if not path.is_file():
                raise PgpisError(f"file not found: {path}")
        cfg = _module("detectron2.config").get_cfg()
        _module("densepose").add_densepose_config(cfg)
        cfg.merge_from_file(str(config))
        cfg.MODEL.WEIGHTS = str(weights)
        cfg.MODEL.DEVICE = device
        self._predictor = _module("detectron2.engine").DefaultPredictor(cfg)
        self._extract = _module("densepose.vis.extractor").DensePoseResultExtractor()

    def __call__(
        self, pictures: Sequence[Image.Image], overflow: Overflow = "clamp", person: int | None = None
    ) -> list[Surface | None]:
        """See :meth:`DensePoseRCNN.forward`."""
        return [self._one(picture, overflow, person) for picture in pictures]

    def _one(self, picture: Image.Image, overflow: Overflow, person: int | None) -> Surface | None:
        instances = self._predictor(np.ascontiguousarray(np.asarray(picture)[..., ::-1]))["instances"].to("cpu")
        boxes, scores = instances.pred_boxes.tensor, instances.scores.tolist()
        people = [Detection(box, box, score) for box, score in zip(boxes, scores, strict=True)]
        detection = choose(people, person)
        if detection is None:
            return None
        index = next(number for number, other in enumerate(people) if other is detection)
        surface = self._extract(instances)[0][index]
        size = (picture.height, picture.width)
        return iuv_image(surface.labels.byte(), surface.uv, detection.box, size, overflow), detection


def _module(name: str) -> Any:
    hint = f"{INSTALL}, or leave the option out: pgpis has the same net without detectron2"
    return optional_module(name, f"--densepose detectron2 needs {name}", hint)

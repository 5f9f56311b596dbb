"""The protocols by which published numbers were measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from PIL import Image
from torchmetrics.functional.image import structural_similarity_index_measure

from pgpis.data.layouts.real import RealKind
from pgpis.evaluate.published import ProtocolName, Size
from pgpis.metrics import DISTS, L1, LPIPS, MAE, PSNR, SSIM, PairMetric
from pgpis.metrics.image import check_window
from pgpis.metrics.inception import FeatureKind
from pgpis.pictures.images import resize


@dataclass(frozen=True)
class Protocol:
    """How pictures are brought to size and measured."""

    name: ProtocolName
    real_set: Literal["train", "targets"]
    """Real pictures of the main FID: those of training, or the distinct test targets."""
    opencv: bool
    """Resize with OpenCV's bicubic filter, which does not smooth; else with PIL's."""
    features: FeatureKind
    lpips_normalize: bool
    """Whether LPIPS sees [-1, 1], as it was made; else [0, 1], which compares with nothing else."""
    ssim: Literal["field", "torchmetrics"]
    training: RealKind | None = "train"
    """Real pictures of ``fid_train``: those of training, or all but the targets; None: there is no such FID."""
    modern: bool = False
    """Whether the distances of :mod:`pgpis.evaluate.modern`, DISTS and key points take the place of FID and SSIM."""

    def fit(self, image: Image.Image, size: Size) -> Image.Image:
        """Bring a picture to (height, width)."""
        if (image.height, image.width) == size:
            return image
        if self.opencv:
            return Image.fromarray(cv2.resize(np.asarray(image), size[::-1], interpolation=cv2.INTER_CUBIC))
        return resize(image, *size)


PROTOCOLS: Mapping[ProtocolName, Protocol] = {
    "cfld": Protocol("cfld", "train", False, "legacy", True, "field"),
    "fpdm": Protocol("fpdm", "targets", False, "legacy", True, "field", "others"),
    "modern": Protocol("modern", "targets", False, "standard", True, "torchmetrics", None, modern=True),
    "pcdm": Protocol("pcdm", "train", True, "legacy", False, "field"),
    "standard": Protocol("standard", "train", False, "standard", True, "torchmetrics"),
}


@dataclass(frozen=True)
class EvaluationOptions:
    """How pictures are scored."""

    protocol: ProtocolName = "fpdm"
    size: Size = (256, 176)
    weights: Path | None = None
    """Folder of AlexNet's and Inception's weights; None: torch hub's cache."""
    cache: Path = field(default_factory=Path)
    """Folder that the features of real pictures are kept in."""
    device: str = "cpu"
    batch_size: int = 16
    workers: int = 0
    """Processes that read pictures for this one."""


class TorchmetricsSSIM(PairMetric):
    """Gaussian SSIM as torchmetrics computes it by default, data range 1."""

    higher_is_better = True
    window_size = 11

    def _values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        check_window(generated, self.window_size)
        values = structural_similarity_index_measure(generated, target, data_range=1.0, reduction="none")
        assert isinstance(values, torch.Tensor)
        return values.double()


def pair_metrics(protocol: Protocol, weights: Path | None) -> dict[str, PairMetric]:
    """Return the pair metrics of a protocol by name."""
    if protocol.modern:
        return {"dists": DISTS(weights)}
    similarity: dict[str, PairMetric] = {"ssim": TorchmetricsSSIM()}
    if protocol.ssim == "field":
        similarity = {"ssim": SSIM("uniform"), "ssim_gaussian": SSIM("gaussian")}
    lpips = LPIPS(weights, normalize=protocol.lpips_normalize)
    return {**similarity, "psnr": PSNR(), "mae": MAE(), "l1": L1(), "lpips": lpips}

"""Inception features for FID: the way this field's published numbers were made, and the standard one."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from pgpis.metrics.weights import DAMAGED, not_weights, read_state_dict
from pgpis.weight_files import expected_file, fetch_command

FeatureKind = Literal["legacy", "standard"]
FEATURES = 2048
SIDE = 299
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def legacy_input(images: torch.Tensor) -> torch.Tensor:
    """Prepare pictures for the legacy features.

    Bilinear to 299 x 299 without antialias; then the shift and scale that belong to pictures which are normalised for
    ImageNet already, although these are not. Its authors agree that this is a mistake, and every published number of
    the family (GFLA, DPTN, PIDM, PCDMs, CFLD, MCLD, FPDM) contains it.

    Args:
        images: float in [0, 1], ``(B, 3, H, W)``.

    Returns:
        ``(B, 3, 299, 299)``.
    """
    resized = F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)
    mean = images.new_tensor(MEAN).view(1, 3, 1, 1)
    deviation = images.new_tensor(DEVIATION).view(1, 3, 1, 1)
    return resized * (deviation / 0.5) + (mean - 0.5) / 0.5


class InceptionFeatures:
    """Pooled features ``(B, 2048)`` of pictures.

    Args:
        kind: ``legacy``: torchvision's ImageNet weights; ``standard``: the port of TensorFlow's 2015 weights that
            torch-fidelity and torchmetrics take.
        weights: Folder of the weights file; None: the places of :mod:`pgpis.weight_files`. Nothing is ever downloaded.
        device: Where the net runs.

    ``not_computed`` says which file is missing and how to get it, or is None.

    Raises:
        PgpisError: The file is damaged or holds other weights.
    """

    def __init__(
        self, kind: FeatureKind, weights: str | Path | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.kind = kind
        self.path = expected_file(f"inception-{kind}", weights)
        self.command = fetch_command(f"inception-{kind}", weights)
        self.device = torch.device(device)
        self.net: Any = None
        if self.not_computed is None:
            build = _torchvision_inception if kind == "legacy" else _fidelity_inception
            self.net = build(self.path, self.command).to(self.device)

    @property
    def not_computed(self) -> str | None:
        """Why there are no features, or None."""
        if not self.path.is_file():
            return f"not computed: missing {self.path}, get it with: {self.command}"
        if self.kind == "standard" and importlib.util.find_spec("torch_fidelity") is None:
            return "not computed: torch-fidelity is not installed, get it with: pip install torch-fidelity"
        return None

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of uint8 pictures ``(B, 3, H, W)``, float32 on the CPU."""
        pictures = images.to(self.device)
        if self.kind == "legacy":
            features: torch.Tensor = self.net(legacy_input(pictures.float() / 255))
        else:
            features = self.net(pictures)[0]
        return features.float().cpu()


def _torchvision_inception(path: Path, command: str) -> nn.Module:
    from torchvision.models import inception_v3

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the initialisation, which is overwritten
        net = inception_v3(weights=None, aux_logits=True, transform_input=False, init_weights=False)
    weights = read_state_dict(path, "torchvision's Inception v3", command)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise not_weights(path, "torchvision's Inception v3", command, error) from error
    net.fc = nn.Identity()
    net.AuxLogits = None
    return net.requires_grad_(False).eval()


def _fidelity_inception(path: Path, command: str) -> nn.Module:
    module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    try:
        net: nn.Module = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(path))
    except DAMAGED as error:
        raise not_weights(path, "torch-fidelity's Inception", command, error) from error
    return net.requires_grad_(False).eval()

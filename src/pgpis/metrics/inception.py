"""Inception features for FID: the way this field's published numbers were made, and the standard one."""

from __future__ import annotations

import importlib
import io
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from pgpis.metrics.weights import DAMAGED, NetFile
from pgpis.weight_files import expected_file, fetch_command

FeatureKind = Literal["legacy", "standard"]
FEATURES = 2048
SIDE = 299
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NETS = {"legacy": "torchvision's Inception v3", "standard": "torch-fidelity's Inception"}


def legacy_input(images: torch.Tensor) -> torch.Tensor:
    """Prepare pictures for the legacy features: ``(B, 3, H, W)`` in [0, 1] becomes ``(B, 3, 299, 299)``.

    Bilinear to 299 x 299 without antialias; then the shift and scale that belong to pictures which are normalised for
    ImageNet already, although these are not. Its authors agree that this is a mistake, and every published number of
    the family (GFLA, DPTN, PIDM, PCDMs, CFLD, MCLD, FPDM) contains it.
    """
    resized = F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)
    mean, deviation = (images.new_tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return resized * (deviation / 0.5) + (mean - 0.5) / 0.5


class InceptionFeatures:
    """Pooled features ``(B, 2048)`` of pictures.

    Args:
        kind: ``legacy``: torchvision's ImageNet weights; ``standard``: the port of TensorFlow's 2015 weights that
            torch-fidelity and torchmetrics take.
        weights: Folder of the weights file; None: the places of :mod:`pgpis.weight_files`.
        device: Where the net runs.

    Raises:
        PgpisError: The file is damaged or holds other weights.
    """

    def __init__(
        self, kind: FeatureKind, weights: str | Path | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.kind = kind
        name = f"inception-{kind}"
        self.file = NetFile(NETS[kind], expected_file(name, weights), fetch_command(name, weights))
        self.device = torch.device(device)
        self.net: Any = None
        if self.not_computed is None:
            build = _torchvision_inception if kind == "legacy" else _fidelity_inception
            self.net = build(self.file).requires_grad_(False).eval().to(self.device)

    @property
    def not_computed(self) -> str | None:
        """Why there are no features, such as which file is missing and how to get it, or None."""
        if self.file.missing is None and self.kind == "standard" and not importlib.util.find_spec("torch_fidelity"):
            return "not computed: torch-fidelity is not installed, get it with: pip install torch-fidelity"
        return self.file.missing

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of uint8 pictures ``(B, 3, H, W)``, float32 on the CPU."""
        pictures = images.to(self.device)
        if self.kind == "legacy":
            features: torch.Tensor = self.net(legacy_input(pictures.float() / 255))
        else:
            features = self.net(pictures)[0]
        return features.float().cpu()


def _torchvision_inception(file: NetFile) -> nn.Module:
    from torchvision.models import inception_v3

    with warnings.catch_warnings(), torch.device("meta"):  # no weights are drawn that the file's replace
        warnings.simplefilter("ignore")  # about the initialisation
        net = inception_v3(weights=None, aux_logits=True, transform_input=False, init_weights=False)
    weights = file.read()
    try:
        net.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise file.misfit(error) from error
    net.fc = nn.Identity()
    net.AuxLogits = None
    return net


def _fidelity_inception(file: NetFile) -> nn.Module:
    """Build torch-fidelity's net, whose own reader runs what is in a pickle: it gets only tensors that were read."""
    module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    tensors = io.BytesIO()
    torch.save(file.read(), tensors)
    tensors.seek(0)
    try:
        net: nn.Module = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], tensors)
    except DAMAGED as error:
        raise file.misfit(error) from error
    return net

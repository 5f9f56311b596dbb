"""Features of pictures by DINOv2 and CLIP, for distances between sets of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F

from pgpis.metrics.weights import NetFile
from pgpis.weight_files import expected_file, fetch_command

VisionKind = Literal["clip", "dinov2"]


@dataclass(frozen=True)
class VisionNet:
    """A published net."""

    what: str
    weights: str
    """In the catalogue of :mod:`pgpis.weight_files`."""
    model: str
    """Class of transformers."""
    config: Mapping[str, Any]
    """What differs from the defaults of its configuration."""
    side: int
    """Pictures are brought to this many pixels on each side, by an antialiased bicubic filter."""
    width: int
    """Of the features."""
    output: str
    """Which output of the net they are."""
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    unit: bool
    """Whether features are scaled to length 1."""
    prefixes: tuple[str, ...] = ("",)
    """Beginnings of the weights that belong to it, of those in the file."""


NETS: dict[VisionKind, VisionNet] = {
    "dinov2": VisionNet(
        what="DINOv2 ViT-L/14",
        weights="dinov2-large",
        model="Dinov2Model",
        config={
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 518,
            "patch_size": 14,
        },
        side=224,
        width=1024,
        output="pooler_output",
        mean=(0.485, 0.456, 0.406),
        deviation=(0.229, 0.224, 0.225),
        unit=False,
    ),
    "clip": VisionNet(
        what="CLIP ViT-L/14-336",
        weights="clip-large-336",
        model="CLIPVisionModelWithProjection",
        config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 336,
            "patch_size": 14,
            "projection_dim": 768,
        },
        side=336,
        width=768,
        output="image_embeds",
        mean=(0.48145466, 0.4578275, 0.40821073),
        deviation=(0.26862954, 0.26130258, 0.27577711),
        unit=True,
        prefixes=("vision_model.", "visual_projection."),
    ),
}


class VisionFeatures:
    """Features ``(B, D)`` of pictures by a vision transformer.

    Args:
        kind: ``dinov2``: the normalised class token of ViT-L/14, D = 1024; ``clip``: the projected embedding of
            ViT-L/14-336 at length 1, D = 768.
        weights: Folder of the weights file; None: the places of :mod:`pgpis.weight_files`.
        device: Where the net runs.

    Raises:
        PgpisError: The file is damaged or holds other weights.

    Source: DINOv2 as Stein et al. 2023 take it for the Fréchet distance, CLIP as Jayasumana et al. 2024 for CMMD.
    Deviation: transformers interpolates DINOv2's position embeddings to the size; the official code to a factor that
        is 0.1 of a patch larger.
    """

    def __init__(self, kind: VisionKind, weights: str | Path | None = None, device: torch.device | str = "cpu") -> None:
        self.kind = kind
        self.spec = NETS[kind]
        path, command = expected_file(self.spec.weights, weights), fetch_command(self.spec.weights, weights)
        self.file = NetFile(self.spec.what, path, command)
        self.device = torch.device(device)
        self.net: Any = None if self.not_computed else _build(self.spec, self.file).to(self.device)

    @property
    def not_computed(self) -> str | None:
        """Why there are no features: which file is missing and how to get it, or None."""
        return self.file.missing

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of uint8 pictures ``(B, 3, H, W)``, float32 on the CPU."""
        pictures = images.to(self.device).float() / 255
        sides = (self.spec.side, self.spec.side)
        pictures = F.interpolate(pictures, sides, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        mean, deviation = (pictures.new_tensor(each).view(3, 1, 1) for each in (self.spec.mean, self.spec.deviation))
        features: torch.Tensor = self.net((pictures - mean) / deviation)[self.spec.output].float()
        return (F.normalize(features, dim=1) if self.spec.unit else features).cpu()


def _build(spec: VisionNet, file: NetFile) -> Any:
    """Fill the net strictly; what the file holds of CLIP's text half is left out."""
    import transformers

    weights = {name: value for name, value in file.read().items() if name.startswith(spec.prefixes)}
    weights.pop("vision_model.embeddings.position_ids", None)  # old files hold them
    model = getattr(transformers, spec.model)
    config = model.config_class(**spec.config)
    try:
        net, report = model.from_pretrained(None, config=config, state_dict=weights, output_loading_info=True)
    except (RuntimeError, ValueError) as error:
        raise file.misfit(error) from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[kind]:
            raise file.misfit(f"{kind.replace('_', ' ')}: {min(map(str, report[kind]))}")
    return net.requires_grad_(False).eval()

"""The DensePose branch: which part of the body each pixel of a person shows, and where on that part it lies.

Source: Güler et al. 2018; architecture after detectron2's DensePose (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from pgpis.preprocess.densepose.config import DensePoseConfig

COARSE, FINE = 2, 25
"""Channels: background and person; background and 24 parts."""
DILATIONS = (6, 12, 56)
GROUPS = 32


class ReLUConv(nn.Conv2d):
    """A 3 x 3 convolution and what makes it non-linear."""

    def __init__(self, inputs: int, outputs: int, *, norm: bool = False) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=not norm)
        self.norm = nn.GroupNorm(GROUPS, outputs) if norm else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve, normalise where there is a norm, cut below zero."""
        x = super().forward(x)
        return F.relu(x if self.norm is None else self.norm(x))


class Decoder(nn.Module):
    """Sums the pyramid's first four levels at the size of the first."""

    def __init__(self, config: DensePoseConfig) -> None:
        super().__init__()
        for number, doublings in enumerate((0, 1, 2, 3)):
            layers: list[nn.Module] = []
            inputs = config.fpn_channels
            for _ in range(max(doublings, 1)):
                layers.append(ReLUConv(inputs, config.decoder_channels))
                inputs = config.decoder_channels
                if doublings:
                    layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
            self.add_module(f"p{number + 2}", nn.Sequential(*layers))
        self.predictor = nn.Conv2d(config.decoder_channels, config.decoder_channels, 1)

    def forward(self, features: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return ``(B, C, H/4, W/4)``."""
        return self.predictor(sum(self.get_submodule(level)(features[level]) for level in ("p2", "p3", "p4", "p5")))


class GlobalPooling(nn.Sequential):
    """The mean over the region, brought back to its size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        conv, norm = nn.Conv2d(inputs, outputs, 1, bias=False), nn.GroupNorm(GROUPS, outputs)
        super().__init__(nn.AdaptiveAvgPool2d(1), conv, norm, nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(N, C, h, w)``."""
        pool, conv, norm, relu = self
        # called, the norm refuses single values, as those of one region in a narrow net are
        weight, bias = norm.parameters()
        pooled = relu(torch.group_norm(conv(pool(x)), GROUPS, weight, bias))
        return F.interpolate(pooled, size=x.shape[-2:], mode="bilinear", align_corners=False)


class ASPP(nn.Module):
    """Views of a region at several dilations, side by side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        convs = [nn.Conv2d(inputs, outputs, 1, bias=False)]
        convs += [nn.Conv2d(inputs, outputs, 3, padding=rate, dilation=rate, bias=False) for rate in DILATIONS]
        views = [nn.Sequential(conv, nn.GroupNorm(GROUPS, outputs), nn.ReLU()) for conv in convs]
        self.convs = nn.ModuleList([*views, GlobalPooling(inputs, outputs)])
        self.project = nn.Sequential(nn.Conv2d(len(self.convs) * outputs, outputs, 1, bias=False), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(N, C, h, w)``."""
        return self.project(torch.cat([view(x) for view in self.convs], dim=1))


class Head(nn.Module):
    """Convolutions over the region of a person; with several dilations before them in the DeepLab form."""

    def __init__(self, config: DensePoseConfig) -> None:
        super().__init__()
        deeplab = config.head == "deeplab"
        inputs = config.decoder_channels
        if deeplab:
            self.ASPP = ASPP(inputs, inputs)
        for layer in range(1, config.head_layers + 1):
            self.add_module(f"body_conv_fcn{layer}", ReLUConv(inputs, config.head_channels, norm=deeplab))
            inputs = config.head_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(N, C, h, w)``."""
        for layer in self.children():  # in the order of their construction
            x = layer(x)
        return x


class Predictor(nn.Module):
    """Maps of parts and coordinates, four times the size of the region."""

    OUTPUTS = (("ann_index", COARSE), ("index_uv", FINE), ("u", FINE), ("v", FINE))

    def __init__(self, config: DensePoseConfig) -> None:
        super().__init__()
        outputs = (*self.OUTPUTS, ("sigma_2", FINE)) if config.confidence else self.OUTPUTS
        for name, channels in outputs:
            self.add_module(f"{name}_lowres", nn.ConvTranspose2d(config.head_channels, channels, 4, 2, 1))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return logits ``ann_index`` (coarse) and ``index_uv`` (fine), coordinates ``u`` and ``v`` of each part."""
        return {
            name.removesuffix("_lowres"): F.interpolate(low(x), scale_factor=2, mode="bilinear", align_corners=False)
            for name, low in self.named_children()
        }

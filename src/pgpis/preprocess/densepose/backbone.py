"""ResNet in MSRA's form and its feature pyramid, named as in detectron2.

Source: He et al. 2015; Lin et al. 2017; architecture after detectron2 (Apache-2.0).
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from pgpis.preprocess.densepose.config import BLOCKS, DensePoseConfig

LEVELS = ("p2", "p3", "p4", "p5", "p6")
STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}


class FrozenNorm(FrozenBatchNorm2d):
    """torchvision's, computed by the kernel of detectron2's; multiplying and adding instead rounds differently."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise ``(B, C, H, W)``."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class NormedConv(nn.Conv2d):
    """A convolution without bias and the norm after it."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, size, stride, size // 2, bias=False)
        self.norm = FrozenNorm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve and normalise."""
        return self.norm(super().forward(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 beside a shortcut; the stride sits in the first 1 x 1."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut = NormedConv(inputs, outputs, 1, stride) if inputs != outputs else None
        self.conv1 = NormedConv(inputs, width, 1, stride)
        self.conv2 = NormedConv(width, width, 3)
        self.conv3 = NormedConv(width, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        deep = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(deep + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    """The bottom-up path; its stages are called ``res2`` to ``res5``."""

    def __init__(self, config: DensePoseConfig) -> None:
        super().__init__()
        inputs = config.stem_channels
        self.stem = nn.Sequential(OrderedDict(conv1=NormedConv(3, inputs, 7, 2)))
        for stage, blocks in enumerate(BLOCKS[config.depth]):
            width, outputs = config.width * 2**stage, config.stage_channels * 2**stage
            layers = []
            for block in range(blocks):
                layers.append(Bottleneck(inputs, width, outputs, 2 if block == 0 and stage else 1))
                inputs = outputs
            self.add_module(f"res{stage + 2}", nn.Sequential(*layers))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the outputs of the four stages."""
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1)
        outputs = []
        for stage in range(2, 6):
            x = self.get_submodule(f"res{stage}")(x)
            outputs.append(x)
        return outputs


class FeaturePyramid(nn.Module):
    """ResNet and the top-down path over it; the sides of pictures must be multiples of 32."""

    def __init__(self, config: DensePoseConfig) -> None:
        super().__init__()
        self.bottom_up = ResNet(config)
        for stage in range(2, 6):
            inputs = config.stage_channels * 2 ** (stage - 2)
            self.add_module(f"fpn_lateral{stage}", nn.Conv2d(inputs, config.fpn_channels, 1))
            self.add_module(f"fpn_output{stage}", nn.Conv2d(config.fpn_channels, config.fpn_channels, 3, padding=1))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return maps of strides 4 to 64 of normalised pictures ``(B, 3, H, W)``."""
        stages = self.bottom_up(x)
        outputs: dict[str, torch.Tensor] = {}
        top: torch.Tensor | None = None
        for stage in (5, 4, 3, 2):
            lateral = self.get_submodule(f"fpn_lateral{stage}")(stages[stage - 2])
            top = lateral if top is None else lateral + F.interpolate(top, scale_factor=2.0, mode="nearest")
            outputs[f"p{stage}"] = self.get_submodule(f"fpn_output{stage}")(top)
        outputs["p6"] = F.max_pool2d(outputs["p5"], kernel_size=1, stride=2)
        return {level: outputs[level] for level in LEVELS}

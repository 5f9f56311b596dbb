"""What distinguishes one DensePose R-CNN from another."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from pgpis.errors import PgpisError

Head = Literal["conv", "deeplab"]
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class DensePoseConfig:
    """Sizes of the net and of its input; the defaults are those of the official ``R_50_FPN_s1x``.

    ``s1x`` in the official names is the length of the training and changes nothing here.
    """

    depth: int = 50
    """Layers of the ResNet: 50 or 101."""
    head: Head = "conv"
    """``deeplab`` in the variants called ``DL``."""
    confidence: bool = False
    """Whether the predictor also has ``sigma_2``, as in the variants called ``WC1``. It is read and not used."""
    stem_channels: int = 64
    width: int = 64
    """Channels inside the first stage's bottlenecks; each later stage doubles them."""
    stage_channels: int = 256
    """Channels that the first stage puts out; each later stage doubles them."""
    fpn_channels: int = 256
    fc_channels: int = 1024
    decoder_channels: int = 256
    head_channels: int = 512
    head_layers: int = 8
    pool_size: int = 28
    """Side of the region that the DensePose branch sees; its maps are four times as large."""
    min_size: int = 800
    """Pixels of the picture's short side in the net."""
    max_size: int = 1333
    """Most pixels of its long side."""

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> DensePoseConfig:
        """Read from the tensors of a checkpoint which variant it is; the input keeps its official size.

        Args:
            shapes: Shape of each tensor by detectron2's name.

        Raises:
            PgpisError: A tensor is missing that decides it, or the net is another one.
        """

        def size(name: str, axis: int) -> int:
            if name not in shapes or len(shapes[name]) <= axis:
                raise PgpisError(f"not a DensePose R-CNN: the tensor {name} is missing or misshapen")
            return shapes[name][axis]

        if any(".NLBlock." in name for name in shapes):
            raise PgpisError("not a DensePose R-CNN that pgpis knows: its head has a non-local block")
        blocks = _highest(shapes, r"backbone\.bottom_up\.res4\.(\d+)\.") + 1
        depth = next((depth for depth, counts in BLOCKS.items() if counts[2] == blocks), None)
        if depth is None:
            raise PgpisError(f"not a DensePose R-CNN that pgpis knows: {blocks} blocks in res4, expected 6 or 23")
        return cls(
            depth=depth,
            head="deeplab" if any(".ASPP." in name for name in shapes) else "conv",
            confidence="roi_heads.densepose_predictor.sigma_2_lowres.weight" in shapes,
            stem_channels=size("backbone.bottom_up.stem.conv1.weight", 0),
            width=size("backbone.bottom_up.res2.0.conv1.weight", 0),
            stage_channels=size("backbone.bottom_up.res2.0.conv3.weight", 0),
            fpn_channels=size("backbone.fpn_lateral2.weight", 0),
            fc_channels=size("roi_heads.box_head.fc1.weight", 0),
            decoder_channels=size("roi_heads.decoder.p2.0.weight", 0),
            head_channels=size("roi_heads.densepose_head.body_conv_fcn1.weight", 0),
            head_layers=_highest(shapes, r"roi_heads\.densepose_head\.body_conv_fcn(\d+)\."),
        )


def _highest(names: Collection[str], pattern: str) -> int:
    numbers = [int(match.group(1)) for match in map(re.compile(pattern).match, names) if match]
    if not numbers or max(numbers) > len(names):
        raise PgpisError(f"not a DensePose R-CNN: no tensors are called {pattern}")
    return max(numbers)

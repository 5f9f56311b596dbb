"""Compiled block by block, the denoiser needs no more graphs than the stock UNet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch._dynamo.utils import counters

from pgpis.denoiser import ConditionedUNet, Ports, denoise

UNET = {
    "block_out_channels": (8, 16, 32, 32),  # Stable Diffusion's levels, narrow
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
    "attention_head_dim": (2, 4, 8, 8),
}
HEIGHT, WIDTH = 32, 16
PICTURES = 2


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def count(unet: UNet2DConditionModel, run: Callable[[], torch.Tensor]) -> int:
    """Return the number of graphs, after checking that compilation changes nothing."""
    expected = run()
    torch._dynamo.reset()
    counters.clear()
    unet.compile_repeated_blocks(fullgraph=True, backend="eager")
    torch.testing.assert_close(run(), expected)
    return int(counters["stats"]["unique_graphs"])


@pytest.fixture(scope="module")
def stock() -> int:
    unet = UNet2DConditionModel(**UNET).eval()
    with torch.no_grad():
        return count(unet, lambda: unet(draw(2, 4, HEIGHT, WIDTH), 7, draw(2, 5, 12)).sample)


def reference_of(unet: ConditionedUNet) -> dict[str, torch.Tensor]:
    levels = {"down_blocks.0": 0, "down_blocks.1": 1, "down_blocks.2": 2, "mid_block": 3}
    levels |= {f"up_blocks.{number}": 3 - number for number in (1, 2, 3)}
    return {
        name.removesuffix(".attn1"): draw(PICTURES, HEIGHT * WIDTH // 4 ** levels[place], layer.to_k.in_features)
        for name, layer in unet.named_modules()
        for place in levels
        if name.startswith(place) and name.endswith(".attn1")
    }


FORMS = {
    "FPDM": {"prior": True, "branches": 3},
    "MCLD": {"by_stage": True, "reference": True, "bias": True},
    "MCLD in training": {"by_stage": True, "reference": True, "bias": True, "keep": True, "branches": 1, "repeats": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_more_graphs_than_the_stock_unet(form, stock):
    options = {"branches": 2, "repeats": 2, **form}
    prior, by_stage = "prior" in form, "by_stage" in form
    unet = ConditionedUNet(**UNET, class_embed_type="identity" if prior else None, extra_tokens=by_stage).eval()
    one, two = draw(PICTURES, 1, 12), draw(PICTURES, 2, 12)
    ports = Ports(
        {"down": one, "mid": two, "up": one + 1} if by_stage else draw(PICTURES, 5, 12),
        draw(PICTURES, 8, HEIGHT, WIDTH),
        time_embedding=draw(PICTURES, 32) if prior else None,
        extra_tokens=draw(PICTURES, 4, 12) if by_stage else None,
        reference=reference_of(unet) if "reference" in form else None,
        reference_bias=(lambda length: draw(PICTURES, 1, length, length)) if "bias" in form else None,
        keep_reference=torch.tensor([True, False]) if "keep" in form else None,
    )
    branches = [ports] * options["branches"]
    if options["branches"] > 1:
        branches[0] = replace(ports, tokens=None)
    with torch.no_grad():
        conditions = unet.prepare(*branches, repeats=options["repeats"])
        latents = draw(len(conditions.pose_features), 4, HEIGHT, WIDTH)
        graphs = count(unet, lambda: denoise(unet, latents, torch.tensor(7), conditions))
    assert 0 < graphs <= stock

"""Where a picture shows what of its texture, and the attention that is drawn there."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pgpis.denoiser import ConditionedUNet, Conditions, Ports
from pgpis.methods.mcld.correspondence import Correspondence
from pgpis.pictures.uv_texture import (
    CHART_SIZE,
    PARTS,
    PLACE_BIN,
    TEXTURE_SIZE,
    TextureMapper,
    chart_places,
    texel_table,
)


def as_iuv(part, u, v):
    """A map as it is read: channels V, U, part in [-1, 1]."""
    return torch.from_numpy(np.stack([v, u, part]).astype(np.float32))[None] / 127.5 - 1


def drawn_map(height=64, width=44, seed=0):
    """Three parts side by side, all of their charts, and background below."""
    part = np.zeros((height, width), int)
    part[: height // 2, : width // 3], part[: height // 2, width // 3 : 30], part[: height // 2, 30:] = 2, 24, 9
    u = np.broadcast_to(np.linspace(0, 255, width).astype(int), part.shape) * 3 % 256
    v = np.broadcast_to(np.linspace(255, 0, height).astype(int)[:, None], part.shape) * 2 % 256
    return part, u, v


def test_places_are_where_the_texture_holds_a_chart():
    table, places = texel_table(), chart_places()
    assert places.shape == (PARTS, CHART_SIZE // PLACE_BIN, CHART_SIZE // PLACE_BIN, 2)
    assert places.min() >= 0
    assert places.max() < 1
    y, x = np.nonzero(table)
    chart, texel = np.divmod(table[y, x] - 1, CHART_SIZE**2)
    row, column = np.divmod(texel, CHART_SIZE)
    found = places[chart, row // PLACE_BIN, column // PLACE_BIN] * TEXTURE_SIZE
    # a seam in a chart may put one bin in two places; all others are within a bin's width
    near = np.abs(found - np.stack([y, x], axis=-1)).max(axis=-1) < 4 * PLACE_BIN
    assert near.mean() > 0.97
    # a bin that the texture leaves out has a place that it holds, of the same chart
    held = (np.stack([y, x], axis=-1) / TEXTURE_SIZE).astype(np.float32)
    for number in range(PARTS):
        assert set(map(tuple, places[number].reshape(-1, 2))) <= set(map(tuple, held[chart == number]))


def test_a_texture_comes_back_to_the_picture_it_was_made_from():
    part, u, v = drawn_map(256, 176)
    colours = np.stack([u, v, 10 * part], axis=-1).astype(np.uint8)
    texture = TextureMapper()(colours, np.stack([part, u, v], axis=-1).astype(np.uint8))
    correspondence = Correspondence(as_iuv(part, u, v), (32, 22), 1.0)
    y, x = (correspondence.places[0].numpy() * TEXTURE_SIZE).astype(int).transpose(2, 0, 1)
    painted = texture[y, x]
    shown = (part > 0) & painted.any(axis=-1)
    assert shown.sum() > 0.8 * (part > 0).sum()
    assert np.median(np.abs(painted.astype(int) - colours)[shown].max(axis=-1)) < 8
    assert np.array_equal(correspondence.shown[0].numpy(), part > 0)


@pytest.mark.parametrize("size", [(32, 22), (16, 11), (8, 6)])
def test_shares_are_counted_pixel_by_pixel(size):
    part, u, v = drawn_map()
    found = Correspondence(as_iuv(part, u, v), (32, 22), 1.0).shares(*size)[0].numpy()
    height, width = size
    expected, pixels = np.zeros((height * width,) * 2), np.zeros(height * width)
    places = chart_places()
    for row in range(part.shape[0]):
        for column in range(part.shape[1]):
            own = row * height // part.shape[0] * width + column * width // part.shape[1]
            pixels[own] += 1
            if part[row, column]:
                texel = (255 - v[row, column]) * 199 // 255, u[row, column] * 199 // 255
                y, x = places[part[row, column] - 1, texel[0] // PLACE_BIN, texel[1] // PLACE_BIN]
                expected[own, int(y * height) * width + int(x * width)] += 1
    np.testing.assert_allclose(found, expected / pixels[:, None], atol=1e-6)


def test_the_bias_is_nothing_where_nothing_corresponds():
    correspondence = Correspondence(as_iuv(*drawn_map()), (32, 22), 8.0)
    for length, size in ((704, (32, 22)), (176, (16, 11)), (48, (8, 6))):
        shares, bias = correspondence.shares(*size), correspondence.bias(length)
        assert bias.shape == (1, 1, length, length)
        assert torch.equal(bias[:, 0] == 0, shares == 0)
        torch.testing.assert_close(bias[:, 0].exp(), 1 + 8 * length * shares)
        assert correspondence.bias(length) is bias
    with pytest.raises(ValueError, match=r"no level of latents of \(32, 22\) has 100 cells"):
        correspondence.bias(100)


UNET = {
    "sample_size": 8,
    "block_out_channels": [8, 16],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "cross_attention_dim": 8,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}


def test_attention_goes_where_the_texture_is_shown():
    """Keys of one length each: the share of the reference's value is then known in closed form."""
    torch.manual_seed(0)
    unet = ConditionedUNet(**UNET)
    layers = {name: module for name, module in unet.named_modules() if name.endswith(".attn1")}
    name = next(iter(layers))
    layer = unet.get_submodule(name)
    torch.nn.init.zeros_(layer.to_q.weight)  # all logits are zero, but for the bias
    torch.nn.init.eye_(layer.to_v.weight)
    torch.nn.init.eye_(layer.to_out[0].weight)
    torch.nn.init.zeros_(layer.to_out[0].bias)
    correspondence = Correspondence(torch.cat([as_iuv(*drawn_map(32, 32))] * 2), (8, 8), 4.0)
    reference = torch.randn(2, 64, 8)
    bank = {
        block.removesuffix(".attn1"): reference
        if block == name
        else torch.zeros(2, 64 if "mid" not in block else 16, module.to_k.in_features)
        for block, module in layers.items()
    }
    ports = Ports(
        torch.zeros(2, 1, 8),
        torch.zeros(2, 8, 8, 8),
        reference=bank,
        reference_bias=correspondence.bias,
        keep_reference=torch.tensor([True, False]),
    )
    nothing = replace(ports, tokens=None)
    own = torch.randn(6, 64, 8)
    conditions: Conditions = unet.prepare(nothing, replace(ports, tokens=ports.tokens), ports)
    found = layer(own, conditions=conditions.layers[name.split(".transformer_blocks")[0]])
    weight = 1 + 4 * 64 * correspondence.shares(8, 8)[0]
    expected = (own[2].sum(0) + weight @ reference[0]) / (64 + weight.sum(1, keepdim=True))
    torch.testing.assert_close(found[2], expected, atol=1e-5, rtol=1e-5)
    alone = own.mean(dim=1, keepdim=True).expand_as(own)
    torch.testing.assert_close(found[[0, 1, 3, 5]], alone[[0, 1, 3, 5]], atol=1e-5, rtol=1e-5)
    again = (own[4].sum(0) + weight @ reference[0]) / (64 + weight.sum(1, keepdim=True))
    torch.testing.assert_close(found[4], again, atol=1e-5, rtol=1e-5)

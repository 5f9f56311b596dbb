"""Running CLIP and DINOv2: normalisation, outputs and position interpolation."""

from __future__ import annotations

import math

import pytest
import torch

from pgpis.errors import PgpisError
from pgpis.models import build_vision_encoder, encode_pictures, encode_tokens, set_position_interpolation
from pgpis.models.encoders import normalize_pictures
from tiny_fpdm import CLIP, DINO, randomize


@pytest.fixture
def dino():
    return randomize(build_vision_encoder(DINO))


@pytest.fixture
def clip():
    return randomize(build_vision_encoder(CLIP))


@pytest.mark.parametrize(
    ("config", "mean", "deviation"),
    [
        (CLIP, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        (DINO, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
    ids=["clip", "dino"],
)
def test_each_family_has_its_normalisation(config, mean, deviation):
    pictures = torch.rand(2, 3, 4, 4)
    normalized = normalize_pictures(build_vision_encoder(config), pictures * 2 - 1)
    for channel in range(3):
        expected = (pictures[:, channel] - mean[channel]) / deviation[channel]
        torch.testing.assert_close(normalized[:, channel], expected, atol=1e-5, rtol=0)


def test_tokens_and_embeddings(clip, dino):
    small, large = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 56, 42)
    assert encode_tokens(clip, small).shape == (2, 1 + 16, 16)
    assert encode_pictures(clip, small).shape == (2, 12)
    tokens = encode_tokens(dino, large)
    assert tokens.shape == (2, 1 + 4 * 3, 16)
    torch.testing.assert_close(encode_pictures(dino, large), tokens[:, 0])


def test_clip_takes_its_own_size_only(clip):
    with pytest.raises(PgpisError, match="takes pictures of 32x32 pixels, got 40x32"):
        encode_tokens(clip, torch.rand(1, 3, 40, 32))


def cubic(distance: float, a: float = -0.75) -> float:
    distance = abs(distance)
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    if distance < 2:
        return a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    return 0.0


def interpolation_matrix(target: int, source: int, step: float) -> torch.Tensor:
    """Return the ``(target, source)`` weights of bicubic sampling at ``(i + .5) step - .5``, edges repeated."""
    weights = torch.zeros(target, source)
    for i in range(target):
        position = (i + 0.5) * step - 0.5
        for neighbour in range(math.floor(position) - 1, math.floor(position) + 3):
            weights[i, min(max(neighbour, 0), source - 1)] += cubic(position - neighbour)
    return weights


@pytest.mark.parametrize("mode", ["size", "scale_factor"])
@pytest.mark.parametrize(("height", "width"), [(56, 70), (28, 56), (42, 56)])
def test_position_interpolation(dino, mode, height, width):
    side = DINO["image_size"] // DINO["patch_size"]
    rows, columns = height // DINO["patch_size"], width // DINO["patch_size"]
    extra = 0.1 if mode == "scale_factor" else 0.0
    vertical = interpolation_matrix(rows, side, side / (rows + extra))
    horizontal = interpolation_matrix(columns, side, side / (columns + extra))
    set_position_interpolation(dino, mode)
    table = dino.embeddings.position_embeddings
    grid = torch.einsum("ri,cj,ijd->rcd", vertical, horizontal, table[0, 1:].view(side, side, -1))
    expected = torch.cat([table[0, :1], grid.flatten(0, 1)])
    positions = dino.embeddings.interpolate_pos_encoding(torch.empty(1, 1 + rows * columns, 16), height, width)
    torch.testing.assert_close(positions[0], expected, atol=1e-5, rtol=0)


def test_interpolation_mode_can_be_changed_without_touching_weights(dino):
    pictures = torch.rand(1, 3, 56, 56) * 2 - 1
    dino.requires_grad_(False)
    before = dino.state_dict()
    size = encode_tokens(dino, pictures)
    set_position_interpolation(dino, "scale_factor")
    assert (encode_tokens(dino, pictures) - size).abs().max() > 1e-4
    assert not any(parameter.requires_grad for parameter in dino.parameters())
    assert all(torch.equal(value, before[name]) for name, value in dino.state_dict().items())
    set_position_interpolation(dino, "size")
    assert torch.equal(encode_tokens(dino, pictures), size)
    with pytest.raises(PgpisError, match="did you mean 'scale_factor'"):
        set_position_interpolation(dino, "scalefactor")

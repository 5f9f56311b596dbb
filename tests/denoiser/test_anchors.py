"""Pictures whose self-attention reads other pictures of the batch at the same step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from pgpis.denoiser import ConditionedUNet, Ports, denoise
from pgpis.denoiser.attention import attend_to_cells, split_heads
from pgpis.denoiser.conditions import LayerConditions
from pgpis.errors import PgpisError
from tiny_fpdm import UNET, randomize

PICTURES, LENGTH = 3, 5


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def unet() -> ConditionedUNet:
    return randomize(ConditionedUNet(**UNET)).eval()


@pytest.fixture
def ports() -> Ports:
    return Ports(draw(PICTURES, 7, 12), draw(PICTURES, 8, 12, 10, seed=1))


def predicted(unet: ConditionedUNet, ports: Ports, anchors: torch.Tensor | None, latents: torch.Tensor) -> torch.Tensor:
    """Predict three pictures twice, without conditions and with: ``(2, 3, ...)``."""
    shown = replace(ports, anchors=anchors)
    with torch.no_grad():
        conditions = unet.prepare(replace(shown, tokens=None), shown)
        return denoise(unet, torch.cat([latents] * 2), torch.tensor(5), conditions).unflatten(0, (2, -1))


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(("zero", "repeats"), [(0, 1), (1, 1), (1, 2)])
def test_keys_and_values_of_anchors_stand_beside_a_rows_own(unet, reference, zero, repeats):
    """Against each row by itself; a biased reference may stand beside the anchors."""
    attn = unet.mid_block.attentions[0].transformer_blocks[0].attn1
    width, rows = attn.to_q.in_features, (zero + repeats) * PICTURES
    hidden = draw(rows, LENGTH, width, seed=2)
    anchors = torch.tensor([[0, 2], [0, 0], [2, 1]])
    lent = tuple(split_heads(attn, draw(PICTURES, LENGTH, width, seed=seed)) for seed in (3, 4)) if reference else None
    mask = F.pad(draw(PICTURES, 1, LENGTH, LENGTH, seed=5), (3 * LENGTH, 0)).repeat(repeats, 1, 1, 1)
    own = LayerConditions(
        reference=lent, anchors=anchors, mask=mask if reference else None, zero_rows=zero * PICTURES, repeats=repeats
    )
    with torch.no_grad():
        ours = attend_to_cells(attn, hidden, own)
        for row in range(rows):
            block, picture = divmod(row, PICTURES)
            read = [row, *(block * PICTURES + anchor for anchor in anchors[picture].tolist())]
            query, key, value = (split_heads(attn, project(hidden)) for project in (attn.to_q, attn.to_k, attn.to_v))
            keys, values = (torch.cat([cells[[each]] for each in read], dim=2) for cells in (key, value))
            bias = None
            if lent is not None and block >= zero:
                keys, values = torch.cat([keys, lent[0][[picture]]], 2), torch.cat([values, lent[1][[picture]]], 2)
                bias = mask[[picture]]
            expected = F.scaled_dot_product_attention(query[[row]], keys, values, attn_mask=bias)
            torch.testing.assert_close(ours[[row]], expected.transpose(1, 2).flatten(2))


def test_pictures_read_their_anchor_in_all_branches_and_it_reads_none(unet, ports):
    latents, first = draw(PICTURES, 4, 12, 10, seed=3), torch.zeros(PICTURES, 1, dtype=torch.int64)
    alone, beside = (predicted(unet, ports, anchors, latents) for anchors in (None, first))
    torch.testing.assert_close(beside[:, 0], alone[:, 0], msg="to read oneself twice changes nothing")
    for branch in range(2):
        for row in (1, 2):
            assert not torch.allclose(beside[branch, row], alone[branch, row], atol=1e-4)
    other = latents.clone()
    other[1] += 1
    changed = predicted(unet, ports, first, other)
    torch.testing.assert_close(changed[:, [0, 2]], beside[:, [0, 2]], msg="nobody reads the second picture")
    other = latents.clone()
    other[0] += 1
    assert not torch.allclose(predicted(unet, ports, first, other)[:, 1], beside[:, 1], atol=1e-4)


def test_they_need_the_own_processors(unet, ports):
    with pytest.raises(PgpisError, match="a reference and anchors need keys and values that are computed once"):
        unet.prepare(replace(ports, anchors=torch.zeros(PICTURES, 1, dtype=torch.int64)), cache=False)

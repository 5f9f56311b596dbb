"""Attention as flow: a slow version, closed forms, and that it is the attention which the denoiser has."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention

from pgpis.denoiser import ConditionedUNet, Ports, denoise
from pgpis.denoiser.attention import ConditionedAttentionProcessor, split_heads
from pgpis.denoiser.conditions import LayerConditions
from pgpis.denoiser.flow import (
    AttentionRecord,
    FlowPictures,
    attention_flow,
    cell_centres,
    fetched,
    flow_loss,
    flow_of,
    recorded_attention,
    size_of_level,
)
from tiny_fpdm import UNET, randomize

SIZE = (12, 10)
"""Of the latents; the second level has 6 x 5 cells."""


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def slow_flow(query, key, centres, bias, temperature):
    """One query at a time, as the definition says it."""
    rows, heads, length, width = query.shape
    first = key.shape[2] - len(centres)
    result = []
    for row in range(rows):
        for place in range(length):
            attention = torch.zeros(key.shape[2])
            for head in range(heads):
                logits = key[row, head] @ query[row, head, place] / width**0.5
                logits = logits if bias is None else logits + bias[row, 0, place]
                attention = attention + torch.softmax(logits / temperature, dim=0) / heads
            share = attention[first:] / attention[first:].sum()
            result.append((share[:, None] * centres).sum(dim=0))
    return torch.stack(result).view(rows, length, 2)


@pytest.mark.parametrize(("own", "biased"), [(0, False), (1, False), (6, True)])
@pytest.mark.parametrize("head_dim", [2, 5, 16])
def test_values_and_gradients_are_those_of_the_slow_version(own, biased, head_dim):
    centres = cell_centres(2, 3)
    bias = draw(2, 1, 4, own + 6) if biased else None
    found, expected = [], []
    for flow, answers in ((attention_flow, found), (slow_flow, expected)):
        query, key = draw(2, 2, 4, head_dim).requires_grad_(), draw(2, 2, own + 6, head_dim, seed=1).requires_grad_()
        result = flow(query, key, centres, bias, 1.5)
        answers += [result, *torch.autograd.grad((result * draw(2, 4, 2)).sum(), (query, key))]
    for value, right in zip(found, expected, strict=True):
        torch.testing.assert_close(value, right, atol=1e-5, rtol=1e-4)


def test_each_query_that_knows_its_key_gives_the_grid_itself():
    """Identity flow: it fetches the reference as it is, and costs nothing against it."""
    height, width = 4, 6
    one_hot = torch.eye(height * width).expand(1, 2, -1, -1) * 40
    flow = attention_flow(one_hot, one_hot, cell_centres(height, width)).transpose(1, 2).unflatten(2, (height, width))
    grid = F.affine_grid(torch.eye(2, 3)[None], [1, 1, height, width], align_corners=False)
    torch.testing.assert_close(flow, grid.permute(0, 3, 1, 2))
    picture = draw(1, 3, height, width)
    torch.testing.assert_close(fetched(picture, flow, (height, width)), picture, atol=1e-5, rtol=1e-4)
    shifted = attention_flow(one_hot.roll(1, dims=2), one_hot, cell_centres(height, width))
    assert (shifted[:, 1:] - cell_centres(height, width)[:-1]).abs().max() < 1e-6


def test_equal_keys_lead_to_the_middle_and_a_key_that_no_query_can_read_does_not_count():
    query, key = draw(1, 2, 4, 8), draw(1, 2, 1, 8).expand(1, 2, 9, 8)
    assert attention_flow(query, key, cell_centres(2, 4)).abs().max() < 1e-6
    bias = torch.zeros(1, 1, 1, 9)
    bias[..., 2:] = -torch.inf
    assert torch.allclose(attention_flow(query, key, cell_centres(2, 4), bias), cell_centres(2, 4)[0])


@pytest.mark.parametrize("kind", ["reference", "tokens", "stock"])
def test_it_is_the_attention_that_the_processor_has(kind):
    """With places for values, the layer itself returns the sums that the flow is made of."""
    attn = randomize(Attention(8, 12 if kind != "reference" else None, heads=2, dim_head=4, bias=False))
    attn.to_out[0] = torch.nn.Identity()
    attn.set_processor(ConditionedAttentionProcessor(0))
    hidden, centres = draw(2, 30, 8), cell_centres(6, 5) if kind == "reference" else cell_centres(3, 3)
    places = F.pad(F.pad(centres, (0, 1), value=1.0), (0, 1)).expand(2, 2, -1, 4)
    key, mask, tokens = draw(2, 2, len(centres), 4), None, None
    if kind == "reference":
        attn.to_v.weight.data.zero_()
        mask = F.pad(draw(2, 1, 30, 30), (30, 0))
        own = LayerConditions(reference=(key, places), mask=mask)
    elif kind == "tokens":
        own = LayerConditions(tokens=(F.pad(key, (0, 0, 1, 0), value=0.3), F.pad(places, (0, 0, 1, 0))))
    else:
        own, tokens = None, draw(1, 10, 12).expand(2, -1, -1)
        wanted = F.pad(places[0], (0, 0, 1, 0)).transpose(0, 1).flatten(1)  # of the class token nothing
        attn.to_v.weight.data = torch.linalg.lstsq(tokens[0], wanted).solution.T
    with torch.no_grad():
        given = None if own is None else (own,)
        sums = split_heads(attn, attn(hidden, tokens, conditions=given)).sum(dim=1)[..., :3]  # (R, L, 3)
        flow = flow_of(AttentionRecord(attn, hidden, tokens, own), torch.arange(2), SIZE, 1.0)
    torch.testing.assert_close(flow.flatten(2).transpose(1, 2), sums[..., :2] / sums[..., 2:], atol=1e-4, rtol=1e-4)


@pytest.fixture
def unet() -> ConditionedUNet:
    return randomize(ConditionedUNet(**UNET))


def test_layers_are_looked_at_while_the_context_is_open_and_never_after(unet):
    conditions = unet.prepare(Ports(draw(2, 5, 12), draw(2, 8, *SIZE)), cache=False)
    with torch.no_grad():
        plain = denoise(unet, draw(2, 4, *SIZE), torch.tensor(5), conditions)
        with recorded_attention(unet, "cross") as records:
            recorded = denoise(unet, draw(2, 4, *SIZE), torch.tensor(5), conditions)
        denoise(unet, draw(2, 4, *SIZE), torch.tensor(5), conditions)
    assert torch.equal(plain, recorded)
    layers = [module for module in unet.modules() if isinstance(module, Attention)]
    assert len(records) == len(layers) / 2
    assert all(record.attn.is_cross_attention and record.tokens is not None for record in records)
    assert not any(layer._forward_pre_hooks for layer in layers)


def test_cached_keys_give_the_flows_of_stock_attention(unet):
    ports, flows = Ports(draw(2, 5, 12), draw(2, 8, *SIZE)), []
    for cache in (True, False):
        with torch.no_grad(), recorded_attention(unet, "cross") as records:
            denoise(unet, draw(2, 4, *SIZE), torch.tensor(5), unet.prepare(ports, cache=cache))
            flows.append([flow_of(record, torch.arange(2), SIZE, 2.0) for record in records])
    for cached, stock in zip(*flows, strict=True):
        torch.testing.assert_close(cached, stock, atol=1e-5, rtol=1e-4)


def records_of(unet, rows=3):
    with recorded_attention(unet, "cross") as records:
        ports = Ports(draw(rows, 10, 12), draw(rows, 8, *SIZE))
        denoise(unet, draw(rows, 4, *SIZE), torch.tensor(5), unet.prepare(ports, cache=False))
    return records


def test_the_loss_is_the_error_of_what_is_fetched_on_the_person(unet):
    """Summed over layers that are fine enough, a mean over the batch in which rows that do not count are zero."""
    records = records_of(unet)
    picture, target, person = draw(3, 3, 8, 8), draw(3, 3, 24, 20), draw(3, 1, 24, 20) > 0
    person[0] = False
    keep = torch.tensor([True, False, True])
    found = flow_loss(records, FlowPictures(picture, target, person), keep, SIZE, 2.0)
    expected = 0.0
    for record in records:
        result = fetched(picture, flow_of(record, torch.arange(3), SIZE, 2.0), (24, 20))
        squared = (result - target).square().mean(dim=1, keepdim=True)
        expected += squared[2][person[2]].mean() / 3
    torch.testing.assert_close(found, expected)
    everywhere = flow_loss(records[:1], FlowPictures(picture, target), keep, SIZE, 2.0)
    result = fetched(picture, flow_of(records[0], torch.arange(3), SIZE, 2.0), (24, 20))
    torch.testing.assert_close(everywhere, (result - target)[[0, 2]].square().mean() * 2 / 3)
    nothing = flow_loss(records, FlowPictures(picture, target, person), torch.zeros(3, dtype=torch.bool), SIZE, 2.0)
    assert nothing == 0


def test_cells_of_more_than_32_pixels_do_not_count(unet):
    fine = [record for record in records_of(unet) if record.hidden_states.shape[1] == 120]
    coarse = AttentionRecord(fine[0].attn, fine[0].hidden_states[:, :30], fine[0].tokens, None)  # 6 x 5 cells
    keep = torch.ones(3, dtype=torch.bool)
    for height, counts in ((6 * 32, True), (6 * 32 + 8, False)):
        pictures = FlowPictures(draw(3, 3, 8, 8), draw(3, 3, height, 160))
        assert (flow_loss([coarse], pictures, keep, SIZE, 2.0) > 0) == counts


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_queries_and_keys(unet, checkpointing):
    if checkpointing:
        unet.enable_gradient_checkpointing()
    unet.train()
    pictures = FlowPictures(draw(3, 3, 8, 8), draw(3, 3, 24, 20))
    records = records_of(unet)
    flow_loss(records, pictures, torch.ones(3, dtype=torch.bool), SIZE, 2.0).backward()
    gradients = [layer.weight.grad for each in records for layer in (each.attn.to_q, each.attn.to_k)]
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    values = torch.stack([gradient.square().sum() for gradient in gradients])
    unet.disable_gradient_checkpointing()
    unet.zero_grad()
    flows = [fetched(pictures.reference, flow_of(r, torch.arange(3), SIZE, 2.0), (24, 20)) for r in records_of(unet)]
    sum((flow - pictures.target).square().mean() for flow in flows).backward()
    again = [layer.weight.grad for each in records for layer in (each.attn.to_q, each.attn.to_k)]
    torch.testing.assert_close(values, torch.stack([gradient.square().sum() for gradient in again]))


def test_tokens_of_several_pictures_are_refused(unet):
    record = records_of(unet)[0]
    several = AttentionRecord(record.attn, record.hidden_states, record.tokens.repeat(1, 2, 1), None)
    with pytest.raises(ValueError, match="19 tokens beside the class token"):
        flow_of(several, torch.arange(3), SIZE, 2.0)


def test_what_is_not_a_number_crashes_nothing():
    """PyTorch's own backward pass would end the process."""
    flow = torch.full((1, 2, 12, 10), torch.nan, requires_grad=True)
    fetched(draw(1, 3, 24, 20), flow, (24, 20)).sum().backward()
    assert flow.grad is not None
    assert not flow.grad.any()


def test_levels_halve_and_round_up():
    levels = [(64, 44), (32, 22), (16, 11), (8, 6)]
    assert [size_of_level((64, 44), height * width) for height, width in levels] == levels
    with pytest.raises(ValueError, match="no level"):
        size_of_level((64, 44), 100)


def test_queries_learn_to_fetch_what_the_target_shows():
    """From attention that looks nearly everywhere alike to that of a mirror image."""
    reference = F.interpolate(draw(1, 3, 4, 4), (24, 20), mode="bilinear")
    query, key = (draw(1, 2, 30, 8, seed=seed).mul(0.1).requires_grad_() for seed in (0, 1))
    optimizer, errors = torch.optim.Adam([query, key], lr=0.1), []
    for _ in range(80):
        flow = attention_flow(query, key, cell_centres(6, 5)).transpose(1, 2).unflatten(2, (6, 5))
        error = (fetched(reference, flow, (24, 20)) - reference.flip(3)).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.4 * errors[0]

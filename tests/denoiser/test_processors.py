"""Attention processors: diffusers' way to take others and to have the built ones back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0

from pgpis.denoiser import ConditionedUNet, Ports, build_unet, denoise
from pgpis.errors import PgpisError
from pgpis.methods.mcld.reference import ReferenceNet
from tiny_fpdm import UNET, randomize


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def unet() -> ConditionedUNet:
    return randomize(ConditionedUNet(**UNET, extra_tokens=True))


@pytest.fixture
def ports() -> Ports:
    return Ports(draw(2, 3, 12), draw(2, 8, 12, 10, seed=1), extra_tokens=draw(2, 4, 12, seed=2), extra_weight=0.5)


def predicted(unet: ConditionedUNet, ports: Ports) -> torch.Tensor:
    with torch.no_grad():
        return denoise(unet, draw(2, 4, 12, 10, seed=3), torch.tensor(5), unet.prepare(ports))


def test_the_built_processors_come_back_with_their_weights(unet, ports):
    expected, names = predicted(unet, ports), unet.state_dict().keys()
    unet.set_attn_processor(AttnProcessor2_0())
    assert not unet.supports_cache
    with pytest.raises(PgpisError, match="a reference and anchors need keys and values that are computed once"):
        predicted(unet, ports)
    unet.set_default_attn_processor()
    assert unet.supports_cache
    assert unet.state_dict().keys() == names
    torch.testing.assert_close(predicted(unet, ports), expected, atol=0, rtol=0)


def test_a_reference_net_has_its_own_back():
    net = randomize(ReferenceNet(**UNET))
    latents, token = draw(1, 4, 12, 10), draw(1, 1, 12)
    expected = net.bank(latents, token)
    net.set_attn_processor(AttnProcessor2_0())
    net.set_default_attn_processor()
    bank = net.bank(latents, token)
    assert bank.keys() == expected.keys()
    assert all(torch.equal(bank[name], value) for name, value in expected.items())


def test_every_extra_token_counts(unet, ports):
    other = replace(ports, extra_tokens=ports.extra_tokens.roll(1, dims=0))
    assert (predicted(unet, ports) - predicted(unet, other)).abs().max() > 1e-3
    twice = replace(ports, extra_weight=1.0)
    assert (predicted(unet, ports) - predicted(unet, twice)).abs().max() > 1e-3


def test_a_stock_unet_gives_the_second_attention_its_start_and_nothing_else_does(tmp_path):
    stock = randomize(UNet2DConditionModel(**UNET))
    stock.save_pretrained(tmp_path / "stock")
    unet = build_unet(str(tmp_path / "stock"), fusion=False, extra_tokens=True)
    layers = [module for name, module in unet.named_modules() if name.endswith(".attn2")]
    for layer in layers:
        assert torch.equal(layer.processor.to_k_ip.weight, layer.to_k.weight)
        assert torch.equal(layer.processor.to_v_ip.weight, layer.to_v.weight)
        assert layer.processor.to_k_ip.weight.data_ptr() != layer.to_k.weight.data_ptr()
    unet.save_pretrained(tmp_path / "own")
    with pytest.raises(PgpisError, match=r"unexpected keys: .*to_k_ip"):
        build_unet(str(tmp_path / "own"), fusion=False)

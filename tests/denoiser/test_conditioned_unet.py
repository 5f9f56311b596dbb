"""The denoiser: stock weights, pose port, and cached keys and values."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace

import pytest
import torch
from diffusers import UNet2DConditionModel

from pgpis.denoiser import ConditionedUNet, Ports, build_unet, denoise
from pgpis.errors import PgpisError
from tiny_fpdm import UNET, randomize

PICTURES, TOKENS = 2, 7


@pytest.fixture
def unet() -> ConditionedUNet:
    return randomize(build_unet(UNET))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ports_for(unet: ConditionedUNet, tokens: torch.Tensor) -> Ports:
    width = unet.time_embedding.linear_2.out_features
    return Ports(tokens, draw(len(tokens), 8, 12, 11, seed=1), draw(len(tokens), width, seed=2))


def test_weights_are_those_of_the_stock_unet(unet, tmp_path):
    stock = randomize(UNet2DConditionModel(**UNET))
    assert stock.state_dict().keys() == unet.state_dict().keys()
    stock.save_pretrained(tmp_path / "unet")
    loaded = build_unet(str(tmp_path))
    weights = loaded.state_dict()
    for name, value in stock.state_dict().items():
        assert torch.equal(weights[name], value), name
    assert loaded.config.class_embed_type == "identity"
    assert build_unet(str(tmp_path / "unet"), fusion=False).config.class_embed_type is None


def test_without_conditions_it_is_the_stock_unet(unet):
    plain = randomize(build_unet(UNET, fusion=False))
    stock = randomize(UNet2DConditionModel(**UNET))
    inputs = (draw(2, 4, 12, 11), torch.tensor([3, 900]), draw(2, TOKENS, 12))
    torch.testing.assert_close(plain(*inputs).sample, stock(*inputs).sample)
    zero = Ports(inputs[2], torch.zeros(2, 8, 12, 11), torch.zeros(2, 32))
    torch.testing.assert_close(denoise(unet, inputs[0], inputs[1], unet.prepare(zero)), stock(*inputs).sample)


def test_pose_features_are_added_after_the_first_convolution(unet):
    seen = []
    handle = unet.down_blocks[0].register_forward_pre_hook(
        lambda _module, _args, kwargs: seen.append(kwargs["hidden_states"]), with_kwargs=True
    )
    latents, ports = draw(2, 4, 12, 11), ports_for(unet, draw(2, TOKENS, 12))
    denoise(unet, latents, torch.tensor(5), unet.prepare(ports))
    handle.remove()
    expected = torch.nn.functional.conv2d(latents, unet.conv_in.weight, unet.conv_in.bias, padding=1)
    torch.testing.assert_close(seen[0], expected + ports.pose_features)


def test_wrong_number_of_channels_is_refused(unet):
    with pytest.raises(PgpisError, match=r"got 7 channels, expected 4 .* or with 8"):
        unet(draw(1, 7, 12, 11), 1, draw(1, TOKENS, 12), class_labels=draw(1, 32))


def branches_of(ports: Ports, zero: int, shown: int) -> list[Ports]:
    """Return branches without tokens and with; each has pose features and time embedding of its own."""
    width = ports.time_embedding.shape[1]
    return [
        replace(
            ports,
            tokens=None if number < zero else ports.tokens,
            pose_features=draw(*ports.pose_features.shape, seed=10 + number).to(ports.pose_features),
            time_embedding=draw(PICTURES, width, seed=20 + number).to(ports.pose_features),
        )
        for number in range(zero + shown)
    ]


@pytest.mark.parametrize(
    ("zero", "shown", "repeats", "dtype"),
    [
        (0, 1, 1, torch.float32),
        (1, 1, 1, torch.float32),
        (1, 2, 3, torch.float32),
        (0, 1, 2, torch.float32),
        (1, 2, 1, torch.bfloat16),
    ],
)
def test_cache_changes_nothing(unet, zero, shown, repeats, dtype):
    unet.to(dtype)
    branches = branches_of(ports_for(unet, draw(PICTURES, TOKENS, 12)).to(dtype), zero, shown)
    latents = draw((zero + shown) * repeats * PICTURES, 4, 12, 11, seed=3)
    with torch.no_grad():
        conditions = [unet.prepare(*branches, repeats=repeats, cache=cache) for cache in (True, False)]
        cached, expected = (denoise(unet, latents, torch.tensor(7), shown) for shown in conditions)
    tolerance = {"atol": 1e-5, "rtol": 0} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0}
    torch.testing.assert_close(cached, expected, **tolerance)


@pytest.mark.parametrize("how", ["not cached", "cached", "reference", "anchors"])
@pytest.mark.parametrize(("zero", "shown", "repeats"), [(0, 1, 2), (1, 1, 1), (1, 2, 3)])
def test_the_last_branch_alone_is_what_it_would_be_prepared_as(unet, zero, shown, repeats, how):
    ports = ports_for(unet, draw(PICTURES, TOKENS, 12))
    if how == "anchors":
        ports = replace(ports, anchors=torch.tensor([[1], [1]]))
    if how == "reference":
        layers = [name for name, _ in unet.named_modules() if name.endswith("transformer_blocks.0")]
        widths = {name: unet.get_submodule(name).attn1.to_q.in_features for name in layers}
        reference = {name: draw(PICTURES, 6, width, seed=3) for name, width in widths.items()}
        ports = replace(ports, reference=reference, keep_reference=torch.tensor([True, False]))
    branches, cache = branches_of(ports, zero, shown), how != "not cached"
    with torch.no_grad():
        ours = unet.prepare(*branches, repeats=repeats, cache=cache).last_branch(PICTURES, repeats)
        alone = unet.prepare(branches[-1], repeats=repeats, cache=cache)
    assert ours.layers.keys() == alone.layers.keys()
    torch.testing.assert_close(asdict(ours), asdict(alone), rtol=0, atol=0)


def test_cache_is_used_and_raises_no_warning(unet, caplog):
    conditions = unet.prepare(ports_for(unet, draw(PICTURES, TOKENS, 12)))
    calls = []
    for name, module in unet.named_modules():
        if name.endswith("attn2.to_k"):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    with caplog.at_level(logging.WARNING), torch.no_grad():
        logging.getLogger("diffusers").addHandler(caplog.handler)
        denoise(unet, draw(PICTURES, 4, 12, 11), torch.tensor(7), conditions)
        logging.getLogger("diffusers").removeHandler(caplog.handler)
    assert calls == []
    assert caplog.records == []


def test_rows_and_branches_that_do_not_fit_are_refused(unet):
    ports = ports_for(unet, draw(PICTURES, TOKENS, 12))
    nothing = replace(ports, tokens=None)
    with pytest.raises(PgpisError, match="got 2 rows, but its conditions are for 4"):
        denoise(unet, draw(PICTURES, 4, 12, 11), torch.tensor(7), unet.prepare(nothing, ports))
    for branches in ((ports, nothing), (nothing,)):
        with pytest.raises(PgpisError, match="branches without tokens must come first"):
            unet.prepare(*branches)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_flow_through_the_cache(unet, checkpointing):
    tokens = draw(PICTURES, TOKENS, 12)
    gradients = []
    for use_cache in (False, True):
        unet.zero_grad()
        unet.train()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        conditions = unet.prepare(ports_for(unet, tokens), cache=use_cache)
        denoise(unet, draw(PICTURES, 4, 12, 11), torch.tensor(7), conditions).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in unet.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.slow
def test_compiles_into_one_graph(unet):
    latents = draw(4, 4, 12, 11)
    compiled = torch.compile(unet, backend="eager", fullgraph=True)
    with torch.no_grad():
        for seed in (0, 1):
            ports = ports_for(unet, draw(PICTURES, TOKENS, 12) + seed)
            conditions = unet.prepare(replace(ports, tokens=None), ports)
            expected = denoise(unet, latents, torch.tensor(7), conditions)
            torch.testing.assert_close(denoise(compiled, latents, torch.tensor(7), conditions), expected)


def test_unsupported_configuration_is_refused():
    with pytest.raises(PgpisError, match="cross_attention_norm"):
        build_unet({**UNET, "cross_attention_norm": "layer_norm"})

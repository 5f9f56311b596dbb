"""Tensors of another rank, or with nothing in them: each from which a configuration is inferred is refused by name."""

from __future__ import annotations

import pytest
import torch
from official_files import CONFIG

from pgpis.convert import architecture
from pgpis.convert.architecture import Component
from pgpis.convert.filling import shapes_of
from pgpis.errors import PgpisError
from pgpis.methods.fpdm import assemble
from pgpis.methods.fpdm.convert import map_official_keys
from pgpis.methods.mcld import convert as mcld
from pgpis.methods.mcld.resampler import renamed_resampler

ODD = [(), (0, 0), (4,), (2, 2, 2, 2, 2)]
FACES = {
    "latents": (1, 4, 16),
    "proj_in.weight": (16, 512),
    "proj_out.weight": (12, 16),
    "layers.0.0.to_q.weight": (32, 16),
}
POSES = {f"{layer}.weight": (8, 8, 3, 3) for layer in ("conv_in", "blocks.0", "blocks.1", "conv_out")}
INFERRED = {
    "unet": lambda shapes: architecture.unet_config(shapes, CONFIG["unet"]),
    "vae": lambda shapes: architecture.vae_config(shapes, CONFIG["vae"]),
    "source_encoder": lambda shapes: architecture.vision_config(shapes, CONFIG["source_encoder"], "dino"),
    "fusion_embedder": lambda shapes: architecture.vision_config(
        {name.removeprefix("encoder."): shape for name, shape in shapes.items()}, CONFIG["fusion_encoder"], "clip"
    ),
    "conditioner": lambda shapes: assemble._conditioner_config(Component("conditioner", shapes)),
    "faces": lambda shapes: mcld._conditioner_config(shapes, POSES, 8),
    "poses": lambda shapes: mcld._conditioner_config(FACES, shapes, 8),
}


def refusal(part, shapes) -> str | None:
    try:
        INFERRED[part](shapes)
    except PgpisError as error:
        return error.message
    return None


@pytest.mark.parametrize("part", INFERRED)
def test_a_tensor_of_another_rank_is_named(official, part):
    known = {"faces": FACES, "poses": POSES}
    shapes = known.get(part) or shapes_of(map_official_keys(official.state)[0][part])
    config, refused = INFERRED[part](shapes), set()
    for name in shapes:
        for odd in ODD:
            altered = {**shapes, name: odd}
            message = refusal(part, altered)
            if message is None:
                assert INFERRED[part](altered) == config
            else:
                told = name.removeprefix("encoder.") if part == "fusion_embedder" else name
                assert f"'{told}' as {odd}, expected" in message
                refused.add(name)
    assert len(refused) >= 3


def test_keys_and_values_that_are_not_two_halves():
    for odd in (torch.zeros(()), torch.zeros(3, 16)):
        with pytest.raises(PgpisError, match=r"'layers\.0\.0\.to_kv\.weight' has shape"):
            renamed_resampler({"layers.0.0.to_kv.weight": odd})


def test_heads_of_a_width_that_does_not_fit():
    with pytest.raises(PgpisError, match="--resampler-head-dim is 64, expected a divisor of 32"):
        mcld._conditioner_config(FACES, POSES, 64)


@pytest.mark.parametrize("order", [1, -1])
def test_a_tensor_of_the_resampler_under_both_names(order):
    both = {"layers.0.0.to_kv.weight": torch.zeros(4, 2), "layers.0.attn.to_k.weight": torch.ones(2, 2)}
    with pytest.raises(PgpisError, match=r"two tensors for 'layers\.0\.attn\.to_k\.weight', one of them is 'layers\.0"):
        renamed_resampler(dict([*both.items()][::order]))

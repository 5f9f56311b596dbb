"""Autoencoders: both families behind one function, and the start from principal components."""

import pytest
import torch
import torch.nn.functional as F

from pgpis.errors import PgpisError
from pgpis.models import build_vae
from pgpis.models.autoencoder import choose_trained, encode_moments, mean_latents, scale_factor, start_from_patches

DEEP = {
    "_class_name": "AutoencoderDC",
    "latent_channels": 8,
    "encoder_block_out_channels": [3, 12, 48],
    "encoder_layers_per_block": [0, 1, 0],
    "encoder_qkv_multiscales": [[], [], []],
    "decoder_block_out_channels": [8, 16, 32],
    "decoder_layers_per_block": [1, 1, 1],
    "decoder_qkv_multiscales": [[], [], []],
}
SHALLOW = {
    "block_out_channels": [8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 4,
}


def pictures(count=16, side=24, seed=0):
    """Smooth random pictures."""
    coarse = torch.rand(count, 3, 5, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, (side, side - 8), mode="bicubic").clamp(-1, 1)


@pytest.mark.parametrize("shortcuts", [True, False])
def test_the_start_is_what_principal_components_give(shortcuts):
    vae = build_vae({**DEEP, "encoder_out_shortcut": shortcuts, "decoder_in_shortcut": shortcuts})
    images = pictures()
    start_from_patches(vae, images)
    assert scale_factor(vae) == 4
    with torch.no_grad():
        latents, deviation = encode_moments(vae, images).chunk(2, dim=1)
        restored = vae.decode(latents).sample
    assert latents.shape == (16, 8, 6, 4)
    assert not deviation.any()
    rows = F.unfold(images, 4, stride=4).transpose(1, 2).flatten(0, 1)
    centred = rows - rows.mean(dim=0)
    _, values, basis = torch.linalg.svd(centred, full_matrices=False)
    expected = rows.mean(dim=0) + centred @ basis[:8].T @ basis[:8]
    ours = F.unfold(restored, 4, stride=4).transpose(1, 2).flatten(0, 1)
    assert (ours - expected).abs().max() < 0.02  # the decoder's last normalisation is linear to half a per cent
    assert (ours - rows).square().mean() < 1.02 * (expected - rows).square().mean() + 2e-5
    spread = (values[:8] / len(rows) ** 0.5).sqrt()
    assert torch.allclose(latents.transpose(0, 1).flatten(1).std(dim=1), spread, rtol=0.02)


def test_training_goes_on_from_there():
    torch.manual_seed(0)
    vae, images = build_vae(DEEP), pictures(6)
    start_from_patches(vae, images)
    optimizer = torch.optim.Adam(vae.decoder.parameters(), lr=1e-3)
    latents = mean_latents(vae, images).detach()
    errors = []
    for _ in range(40):
        loss = F.mse_loss(vae.decode(latents).sample, images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert errors[-1] < 0.8 * errors[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_block_out_channels": [3, 16, 48]}, "cannot start from patches"),
        ({"encoder_layers_per_block": [1, 1, 1]}, "cannot start from patches"),
        ({"decoder_block_types": ["ResBlock", "ResBlock", "EfficientViTBlock"]}, "cannot start from patches"),
        ({"decoder_block_out_channels": [8, 8, 32]}, "too few to start from patches"),
        ({"decoder_block_out_channels": [4, 16, 4], "decoder_in_shortcut": False}, "less than latent_channels"),
    ],
)
def test_what_cannot_hold_it_is_refused(change, message):
    with pytest.raises(PgpisError, match=message):
        start_from_patches(build_vae({**DEEP, **change}), pictures())


def test_other_autoencoders_are_told_apart(tmp_path):
    with pytest.raises(PgpisError, match="only an AutoencoderDC"):
        start_from_patches(build_vae(SHALLOW), pictures())
    with pytest.raises(PgpisError, match="no autoencoder 'AutoencoderCD'; did you mean 'AutoencoderDC'"):
        build_vae({"_class_name": "AutoencoderCD"})
    with pytest.raises(PgpisError, match="latent_chanels"):
        build_vae({**DEEP, "latent_chanels": 4})
    for config in (DEEP, SHALLOW):
        vae = build_vae(config)
        vae.save_pretrained(tmp_path / type(vae).__name__)
        loaded = build_vae(str(tmp_path / type(vae).__name__))
        assert type(loaded) is type(vae)
        images = pictures(2, 16)
        assert torch.equal(encode_moments(loaded, images), encode_moments(vae, images))


def test_what_is_trained():
    def trained(vae):
        return {name for name, parameter in vae.named_parameters() if parameter.requires_grad}

    for config in (DEEP, SHALLOW):
        vae = build_vae(config)
        everything = trained(vae)
        choose_trained(vae, "decoder")
        assert trained(vae) == {name for name in everything if name.startswith(("decoder.", "post_quant_conv."))}
        choose_trained(vae, "all")
        assert trained(vae) == everything
    deep = build_vae(DEEP)
    choose_trained(deep, "blocks")
    names = trained(deep)
    assert names
    assert {name.split(".")[-2] for name in names} == {"conv1", "conv2", "norm"}
    assert all(name.startswith("decoder.up_blocks.") for name in names)
    with pytest.raises(PgpisError, match="only an AutoencoderDC has 'blocks'"):
        choose_trained(build_vae(SHALLOW), "blocks")

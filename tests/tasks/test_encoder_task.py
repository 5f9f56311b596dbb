"""Training a vision encoder from nothing, and an autoencoder on crops."""

import pytest
import torch

from pgpis.errors import PgpisError
from pgpis.models import build_vision_encoder
from pgpis.models.encoders import encode_pictures, encode_tokens
from pgpis.tasks import AutoencoderTask, VisionEncoderTask
from pgpis.tasks.autoencoder import random_crops
from pgpis.tasks.encoder import patch_places
from tiny_fpdm import CLIP, DINO

VAE = {
    "block_out_channels": [8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "mid_block_add_attention": False,
}


def batch_of(size, count=4, seed=0):
    """Plain people: each has a colour of their own, and the upper half of the second picture is part 3."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.rand(count, 3, 1, 1, generator=generator) * 2 - 1
    first = colours.expand(-1, -1, size, size).clone()
    second = first.clone()
    first[:, :, : size // 2] = -1.0
    iuv = torch.full((count, 3, size, size), -1.0)
    iuv[:, 2, : size // 2] = 3 / 255 * 2 - 1
    iuv[:, 0, : size // 2] = 0.0
    return {"source_image": first, "target_image": second, "pose_image": iuv}


@pytest.mark.parametrize("encoder", [CLIP, DINO], ids=["clip", "dino"])
def test_an_encoder_learns_people_parts_and_colours(encoder, tmp_path):
    torch.manual_seed(0)
    task = VisionEncoderTask(encoder)
    batch, generator = batch_of(task.size), torch.Generator()
    optimizer = torch.optim.Adam(task.parameters(), lr=3e-3)
    first = task.loss(batch, generator, train=True)
    for _ in range(200):
        optimizer.zero_grad()
        task.loss(batch, generator, train=True)["loss"].backward()
        optimizer.step()
    last = task.loss(batch, generator, train=True)
    assert all(last[name] < first[name] for name in ("loss", "contrast", "colour"))
    assert last["top1"] == 1.0
    assert last["part_accuracy"] > 0.7 > first["part_accuracy"]
    task.export(str(tmp_path))
    loaded = build_vision_encoder(str(tmp_path / "encoder"))
    task.encoder.eval()
    pictures = batch["source_image"]
    assert torch.equal(encode_tokens(loaded, pictures), encode_tokens(task.encoder, pictures))


def test_clips_embedding_is_the_one_that_the_models_read():
    torch.manual_seed(0)
    task = VisionEncoderTask(CLIP).eval()
    pictures = batch_of(task.size)["source_image"]
    expected = encode_pictures(task.encoder, pictures)
    assert torch.equal(task._embedding(encode_tokens(task.encoder, pictures)), expected)


def test_places_are_read_at_the_middle_of_patches():
    iuv = torch.full((1, 3, 8, 8), -1.0)
    iuv[0, :, 2, 6] = torch.tensor([0.5, -0.5, 7 / 255 * 2 - 1])  # V, U, part; the middle of patch (0, 1) of 2 x 2
    part, place = patch_places(iuv, 2)
    assert part.tolist() == [[0, 7, 0, 0]]
    assert torch.allclose(place[0, 1], torch.tensor([0.75, 0.25]))


def test_crops_are_parts_of_their_pictures():
    pictures = torch.arange(2 * 3 * 10 * 8, dtype=torch.float32).view(2, 3, 10, 8)
    crops = random_crops(pictures, 4, torch.Generator().manual_seed(0))
    assert crops.shape == (2, 3, 4, 4)
    for crop, picture in zip(crops, pictures, strict=True):
        top, left = divmod(int(crop[0, 0, 0] - picture[0, 0, 0]), 8)
        assert torch.equal(crop, picture[:, top : top + 4, left : left + 4])
    assert torch.equal(crops, random_crops(pictures, 4, torch.Generator().manual_seed(0)))


def test_a_crop_larger_than_the_picture_is_an_error():
    with pytest.raises(PgpisError, match="crop is 64, but pictures have 96 x 32"):
        AutoencoderTask(VAE, height=96, width=32, crop=64)

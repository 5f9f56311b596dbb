"""MCLD's networks at the published size have the tensors of the official files, by name and shape."""

from __future__ import annotations

import json

import pytest
import torch

from pgpis.models.mcld import MCLDConditioner
from pgpis.models.multifocal import MultiFocalUNet
from pgpis.models.reference import ReferenceNet

pytestmark = pytest.mark.parity

# Stable Diffusion 1.5
UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}


def official(parity_root, name):
    shapes = json.loads((parity_root / "keys" / f"mcld_{name}_pth.json").read_text())
    return {key: tuple(shape) for key, shape in shapes.items()}


def shapes(module):
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


@pytest.fixture(scope="module")
def conditioner():
    with torch.device("meta"):
        return MCLDConditioner()


def test_denoiser(parity_root):
    with torch.device("meta"):
        unet = MultiFocalUNet(**UNET)
    assert shapes(unet) == official(parity_root, "denoising_unet")


def test_reference_net_lacks_the_tail_alone(parity_root):
    with torch.device("meta"):
        reference_net = ReferenceNet(**UNET)
    expected, built = official(parity_root, "reference_unet"), shapes(reference_net)
    assert built.items() <= expected.items()
    left_out = expected.keys() - built.keys()
    assert left_out
    assert all(key.startswith("up_blocks.3.attentions.2.") for key in left_out)


def test_pose_encoder_and_face_resampler(parity_root, conditioner):
    assert shapes(conditioner.pose_encoder) == official(parity_root, "pose_guider")
    assert shapes(conditioner.face_resampler) == official(parity_root, "image_proj_model")

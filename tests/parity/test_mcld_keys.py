"""MCLD's networks at the published size have the tensors of the official files, by name and shape."""

from __future__ import annotations

import pytest
import torch
from official_mcld import last_attention

from parity_files import Recorded
from pgpis.convert import architecture
from pgpis.denoiser import ConditionedUNet
from pgpis.methods.mcld.conditioner import MCLDConditioner
from pgpis.methods.mcld.convert import HEADS
from pgpis.methods.mcld.reference import ReferenceNet
from pgpis.methods.mcld.resampler import renamed_resampler

pytestmark = pytest.mark.parity


def official(parity_root, name):
    keys = Recorded(parity_root / "keys" / f"mcld_{name}_pth.json")
    return {key: tuple(shape) for key, shape in keys.items()}


def shapes(module):
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


@pytest.fixture(scope="module")
def config(parity_root):
    """What the converter infers; Stable Diffusion 1.5 has 8 heads, which no shape tells."""
    return architecture.unet_config(official(parity_root, "denoising_unet"), {"attention_head_dim": HEADS})


def test_denoiser(parity_root, config):
    with torch.device("meta"):
        unet = ConditionedUNet(**config, extra_tokens=True)
    assert shapes(unet) == official(parity_root, "denoising_unet")


def test_reference_net_lacks_the_tail_alone(parity_root, config):
    with torch.device("meta"):
        reference_net = ReferenceNet(**config)
    expected, built = official(parity_root, "reference_unet"), shapes(reference_net)
    assert built.items() <= expected.items()
    left_out = expected.keys() - built.keys()
    assert left_out
    assert all(key.startswith(last_attention({"reference_config": config})) for key in left_out)


def test_pose_encoder_and_face_resampler_have_the_published_size_by_default(parity_root):
    with torch.device("meta"):
        conditioner = MCLDConditioner()
    assert shapes(conditioner.pose_encoder) == official(parity_root, "pose_guider")
    faces = {key: torch.empty(shape) for key, shape in official(parity_root, "image_proj_model").items()}
    named = {key: tuple(value.shape) for key, value in renamed_resampler(faces).items()}
    assert shapes(conditioner.face_resampler) == named

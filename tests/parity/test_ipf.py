"""The prior against the official code: embeddings, both losses, what is logged, and gradients."""

from __future__ import annotations

import pytest
import torch

from parity_files import TOLERANCES, close
from pgpis.methods.fpdm.losses import FusionLoss, fusion_loss
from pgpis.models import encode_pictures

pytestmark = pytest.mark.parity

LOGGED = {
    "loss_fushion": "loss",
    "loss_fushion_l1": "l1",
    "fushion_acc_top1": "top1",
    "fushion_acc_top5": "top5",
    "fushion_acc_mean_pos": "mean_position",
}


def assert_logged(loss: FusionLoss, official: dict[str, float], stage: str) -> None:
    for name, ours in LOGGED.items():
        assert getattr(loss, ours).item() == pytest.approx(official[f"{stage}_{name}"], abs=TOLERANCES["network"]), name


@pytest.fixture
def triplet(prior, unnormalize):
    return [unnormalize(prior.embedder.encoder, prior.io[name]) for name in ("source_img", "target_pose", "target_img")]


def test_embeddings_and_fusion(prior, triplet):
    embeddings = [encode_pictures(prior.embedder.encoder, images) for images in triplet]
    for ours, name in zip(embeddings, ("source_embeds", "pose_embeds", "target_embeds"), strict=True):
        close(ours, prior.io[name])
    close(prior.embedder(*triplet[:2]), prior.io["fused"])
    close(prior.embedder.embed_triplet(*triplet).fused, prior.io["fused"])


@pytest.mark.parametrize("source_enhanced", [False, True])
def test_loss_alone(prior, source_enhanced):
    source, target, fused = (prior.io[f"loss_only_{letter}"] for letter in "stf")
    loss = fusion_loss(source, target, fused, source_enhanced=source_enhanced)
    assert_logged(loss, prior.meta["scalars"][f"loss_only_selflearn_{source_enhanced}"], "val")


@pytest.mark.parametrize("source_enhanced", [False, True])
def test_loss_and_gradients_of_a_training_step(prior, triplet, source_enhanced):
    prior.embedder.zero_grad()
    embeddings = prior.embedder.embed_triplet(*triplet)
    loss = fusion_loss(embeddings.source, embeddings.target, embeddings.fused, source_enhanced=source_enhanced)
    scalars = prior.meta["scalars"]
    for stage in ("train", "val"):
        assert_logged(loss, scalars[f"{stage}_selflearn_{source_enhanced}"], stage)

    loss.loss.backward()
    gradients = [parameter.grad for parameter in prior.embedder.parameters() if parameter.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm().item()
    assert norm == pytest.approx(scalars[f"grad_norm_selflearn_{source_enhanced}"], rel=1e-4)
    prefix = f"grad_selflearn_{source_enhanced}."
    listed = [name for name in prior.io if name.startswith(prefix)]
    assert listed
    for name in listed:
        gradient = prior.parameter(name.removeprefix(prefix)).grad
        close(gradient, prior.io[name], "network", name, rtol=1e-3)

"""FPDM's conditioner: what fills the ports, and what a dropped condition is."""

from __future__ import annotations

import pytest
import torch

from pgpis.errors import PgpisError
from pgpis.methods.fpdm import FPDMConditioner, KeepMasks, encode_pair
from pgpis.models import PoseEncoder
from tiny_fpdm import HEIGHT, WIDTH, random_batch, tiny_components, tiny_fusion_embedder, tiny_pipeline


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def encoded(pipeline):
    with torch.no_grad():
        return encode_pair(pipeline.source_encoder, pipeline.fusion_embedder, random_batch(pipeline, 3))


def test_shapes_of_the_ports(pipeline, encoded):
    ports = pipeline.conditioner(*encoded, random_batch(pipeline, 3)["pose_image"])
    assert ports.tokens.shape == (3, 1 + 16, 12)
    assert ports.pose_features.shape == (3, 8, HEIGHT // 2, WIDTH // 2)
    assert ports.time_embedding.shape == (3, 32)


def test_drops_are_per_sample_and_per_condition(pipeline, encoded):
    pose = random_batch(pipeline, 3)["pose_image"]
    full = pipeline.conditioner(*encoded, pose)
    masks = torch.tensor([[True, False, True], [False, True, True], [True, True, False]])
    kept = pipeline.conditioner(*encoded, pose, KeepMasks(*masks))
    empty = pipeline.conditioner.empty_time_embedding()[0]
    for row in range(3):
        for port, mask, absent in (
            ("tokens", masks[0], torch.zeros(())),
            ("pose_features", masks[1], torch.zeros(())),
            ("time_embedding", masks[2], empty),
        ):
            before, after = getattr(full, port)[row], getattr(kept, port)[row]
            torch.testing.assert_close(after, before if mask[row] else absent.expand_as(before))
    # officially the embedding is dropped before its projection: what remains are the biases
    assert empty.abs().max() > 0


def test_dropped_samples_give_no_gradient(pipeline, encoded):
    conditioner = pipeline.conditioner
    conditioner.zero_grad()
    none, every = torch.tensor([False] * 3), torch.tensor([True] * 3)
    ports = conditioner(*encoded, random_batch(pipeline, 3)["pose_image"], KeepMasks(none, every, every))
    (ports.tokens.sum() + ports.pose_features.sum()).backward()
    assert conditioner.source_projection.net[4].weight.grad.abs().max() == 0
    assert conditioner.pose_encoder.conv_out.weight.grad.abs().max() > 0
    conditioner.zero_grad()


def test_pose_encoder_starts_silent_and_sees_zero_to_one():
    encoder = PoseEncoder(6, (4, 8))
    assert encoder(torch.rand(1, 3, 8, 8)).abs().max() == 0
    seen = []
    encoder.conv_in.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    pose = torch.rand(1, 3, 8, 8) * 2 - 1
    encoder(pose)
    torch.testing.assert_close(seen[0], (pose + 1) / 2)


def test_without_prior():
    components = tiny_components(prior=False)
    conditioner = components["conditioner"]
    assert conditioner.fusion_projection is None
    assert conditioner.empty_time_embedding() is None
    pose = torch.rand(2, 3, HEIGHT, WIDTH)
    assert conditioner(torch.rand(2, 17, 16), None, pose).time_embedding is None
    with pytest.raises(PgpisError, match="both present or both absent"):
        conditioner(torch.rand(2, 17, 16), torch.rand(2, 12), pose)


def test_round_trip_is_bit_equal(pipeline, encoded, tmp_path):
    pipeline.conditioner.save_pretrained(tmp_path)
    loaded = FPDMConditioner.from_pretrained(tmp_path)
    pose = random_batch(pipeline, 3)["pose_image"]
    saved = pipeline.conditioner.state_dict()
    assert loaded.state_dict().keys() == saved.keys()
    assert all(torch.equal(value, saved[name]) for name, value in loaded.state_dict().items())
    for port, value in vars(pipeline.conditioner(*encoded, pose)).items():
        torch.testing.assert_close(getattr(loaded(*encoded, pose), port), value)
    assert dict(loaded.config)["source_size"] == 56


def test_default_sizes_are_the_papers():
    shapes = {name: tuple(value.shape) for name, value in FPDMConditioner().state_dict().items()}
    assert shapes["source_projection.net.0.weight"] == (768, 1024)
    assert shapes["source_projection.net.4.weight"] == (1024, 768)
    assert shapes["pose_encoder.conv_out.weight"] == (320, 256, 3, 3)
    assert shapes["fusion_projection.net.3.weight"] == (1280, 768)


def test_both_projections_are_equally_wide_inside_and_pipelines_saved_before_keep_their_width(tmp_path):
    components = tiny_components()
    conditioner, embedding_dim = components["conditioner"], components["fusion_embedder"].embedding_dim
    hidden = conditioner.config.token_hidden_dim
    assert hidden != embedding_dim
    assert conditioner.fusion_projection.net[0].weight.shape == (hidden, embedding_dim)
    assert conditioner.fusion_projection.net[3].in_features == hidden
    config = {key: value for key, value in conditioner.config.items() if key != "fusion_hidden_dim"}
    older = FPDMConditioner.from_config(config)
    assert older.fusion_projection.net[0].weight.shape == (embedding_dim, embedding_dim)
    older.save_pretrained(tmp_path)
    assert FPDMConditioner.from_pretrained(tmp_path).state_dict().keys() == older.state_dict().keys()


def test_pictures_that_it_needs():
    conditioner = FPDMConditioner(source_size=512)
    specs = conditioner.input_specs(512, 352, tiny_fusion_embedder())
    assert specs["source_image"].train_detour == (256, 256)
    assert (specs["prior_source"].base, specs["prior_source"].height) == ("source_image", 32)
    assert (specs["target_image"].height, specs["pose_image"].width) == (512, 352)
    assert conditioner.input_specs(256, 176, source_detour=False)["source_image"].train_detour is None
    assert conditioner.input_specs(256, 176).keys() == {"source_image", "target_image", "pose_image"}
    assert "prior_pose" not in conditioner.input_specs(256, 176, tiny_fusion_embedder(combiner=False))

"""The prior: its equation, its variants, its files."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pgpis.errors import PgpisError
from pgpis.methods.fpdm import Combiner, FusionEmbedder
from pgpis.models import build_vision_encoder, encode_pictures
from tiny_fpdm import CLIP, DINO, randomize, tiny_fusion_embedder


def pictures(count: int = 3, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_combiner_follows_its_equation():
    combiner = randomize(Combiner(5, projection_dim=7, hidden_dim=6))
    source, pose = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    hidden = torch.cat([F.relu(combiner.pose_projection(pose)), F.relu(combiner.source_projection(source))], dim=1)
    share = torch.sigmoid(combiner.gate[3](F.relu(combiner.gate[0](hidden))))
    fused = combiner.output_layer(F.relu(combiner.hidden_layer(hidden))) + share * pose + (1 - share) * source
    torch.testing.assert_close(combiner(source, pose), fused / fused.norm(dim=1, keepdim=True))


def test_four_hidden_layers_drop_out():
    combiner = randomize(Combiner(5, projection_dim=64, hidden_dim=64, dropout=0.5)).train()
    masked = []
    for layer in (combiner.hidden_layer, combiner.gate[0], combiner.output_layer, combiner.gate[3]):
        layer.register_forward_pre_hook(lambda _layer, inputs: masked.append((inputs[0] == 0).float().mean().item()))
    torch.manual_seed(0)
    source, pose = torch.ones(2, 50, 5)
    combiner(source, pose)
    assert len(masked) == 4
    assert min(masked) > 0.5  # ReLU alone leaves about half


def test_one_pass_equals_separate_ones():
    embedder = tiny_fusion_embedder()
    source, pose, target = (pictures(seed=seed) for seed in range(3))
    triplet = embedder.embed_triplet(source, pose, target)
    torch.testing.assert_close(triplet.source, embedder.embed(source))
    torch.testing.assert_close(triplet.target, embedder.embed(target))
    torch.testing.assert_close(triplet.fused, embedder(source, pose))
    torch.testing.assert_close(triplet.fused.norm(dim=1), torch.ones(3))


def test_without_combiner_it_is_the_sources_own_embedding():
    embedder = tiny_fusion_embedder(combiner=False)
    own = F.normalize(encode_pictures(embedder.encoder, pictures()), dim=1)
    torch.testing.assert_close(embedder(pictures()), own)
    torch.testing.assert_close(embedder(pictures(), pictures(seed=1)), own)
    torch.testing.assert_close(embedder.embed_triplet(pictures(), None, pictures(seed=2)).fused, own)
    assert "prior_pose" not in embedder.input_specs()


def test_fusing_needs_a_pose():
    with pytest.raises(PgpisError, match="no pose was given"):
        tiny_fusion_embedder()(pictures())


@pytest.mark.parametrize("config", [CLIP, DINO], ids=["clip", "dino"])
@pytest.mark.parametrize("combiner", [True, False])
def test_round_trip_is_bit_equal(config, combiner, tmp_path):
    embedder = randomize(FusionEmbedder(encoder_config=config, combiner=combiner, projection_dim=8, image_size=None))
    embedder.save_pretrained(tmp_path)
    loaded = FusionEmbedder.from_pretrained(tmp_path)
    assert not loaded.training
    size = embedder.input_size
    inputs = (pictures(size=size), pictures(size=size, seed=1))
    assert loaded.state_dict().keys() == embedder.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in embedder.state_dict().items())
    torch.testing.assert_close(loaded(*inputs), embedder(*inputs))
    assert loaded.config.projection_dim == 8


def test_from_a_pretrained_encoder(tmp_path):
    encoder = randomize(build_vision_encoder(CLIP))
    encoder.save_pretrained(tmp_path / "encoder")
    embedder = FusionEmbedder.from_encoder(str(tmp_path / "encoder"), hidden_dim=9, dropout=0.1)
    torch.testing.assert_close(embedder.embed(pictures()), encode_pictures(encoder, pictures()))
    assert embedder.fusion_head.output_layer.in_features == 9
    embedder.save_pretrained(tmp_path / "prior")
    loaded = FusionEmbedder.from_pretrained(tmp_path / "prior")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in embedder.state_dict().items())


def test_pictures_that_training_needs():
    specs = tiny_fusion_embedder().input_specs()
    assert {key: (spec.origin, spec.fit, spec.height) for key, spec in specs.items()} == {
        "prior_source": ("source", "crop", 32),
        "prior_target": ("target", "crop", 32),
        "prior_pose": ("pose", "squash", 32),
    }
    assert FusionEmbedder(encoder_config=DINO, image_size=28).input_specs()["prior_source"].width == 28


def test_pictures_are_cropped_as_officially_or_squashed_on_demand(tmp_path):
    assert {spec.fit for key, spec in tiny_fusion_embedder().input_specs().items() if key != "prior_pose"} == {"crop"}
    embedder = tiny_fusion_embedder(fit="squash")
    embedder.save_pretrained(tmp_path)
    loaded = FusionEmbedder.from_pretrained(tmp_path)
    assert {spec.fit for spec in loaded.input_specs().values()} == {"squash"}

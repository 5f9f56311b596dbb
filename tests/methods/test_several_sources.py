"""Several sources through both pipelines: a pair's picture is its own, whatever else is in the batch."""

import pytest
import torch

from pgpis.batch import joined
from pgpis.errors import PgpisError
from pgpis.methods.fpdm import SourceRefiner
from pgpis.models.sources import encode_sources, mean_of_sources, present_sources, side_by_side
from tiny_fpdm import random_batch, randomize, tiny_pipeline
from tiny_mcld import HEIGHT, WIDTH, tiny_mcld

OPTIONS = {"num_inference_steps": 2, "guidance_scale": 2.0}


def mcld_batch(pipeline, pairs):
    generator = torch.Generator().manual_seed(1)
    specs = pipeline.input_specs(HEIGHT, WIDTH)
    shapes = {key: (3, spec.height, spec.width) for key, spec in specs.items() if key != "face"}
    batch = {key: torch.rand(pairs, *shape, generator=generator) * 2 - 1 for key, shape in shapes.items()}
    return {**batch, "face": torch.randn(pairs, 512, generator=generator)}


@pytest.fixture(scope="module", params=["fpdm", "fpdm-refined", "mcld", "mcld-all"])
def case(request):
    """A pipeline, and a batch of four pairs of 2, 1, 4 and 3 sources."""
    if request.param.startswith("fpdm"):
        pipeline, keys = tiny_pipeline(), ["source_image", "prior_source"]
        if request.param == "fpdm-refined":
            pipeline.register_modules(refiner=randomize(SourceRefiner((8, 8, 16), (8, 8, 8), head_dim=8)))
            keys.append("source_picture")
        batch = random_batch(pipeline, 4)
    else:
        pipeline = tiny_mcld(aggregation="all" if request.param.endswith("all") else "stage")
        batch, keys = mcld_batch(pipeline, 4), ("source_clip", "face")
    generator = torch.Generator().manual_seed(2)
    further = {f"further_{key}": torch.rand(4, 3, *batch[key].shape[1:], generator=generator) for key in keys}
    return pipeline, batch, {**batch, **further, "source_count": torch.tensor([2, 1, 4, 3])}


def rows(batch, *places):
    return {key: value[list(places)] for key, value in batch.items()}


def latents(pipeline, batch, *places):
    generators = [torch.Generator().manual_seed(place) for place in places]  # noise is a pair's own
    kind = "latent" if getattr(pipeline, "refiner", None) is None else "pt"
    return pipeline.generate(rows(batch, *places), generator=generators, output_type=kind, **OPTIONS).images


def test_a_pair_alone_is_the_pair_in_a_mixed_batch(case):
    pipeline, _, several = case
    mixed = latents(pipeline, several, 0, 1, 2, 3)
    for place in range(4):
        torch.testing.assert_close(mixed[[place]], latents(pipeline, several, place), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 3, 0, 2), (1, 1, 1, 1)])
def test_batches_of_other_numbers_of_sources_are_joined(case, order):
    _, single, several = case
    further = [key for key in several if key.startswith("further_")]
    parts = []
    for place in order:
        count = int(several["source_count"][place])
        batch = rows(single if count == 1 else several, place)
        parts.append({key: value[:, : count - 1] if key in further else value for key, value in batch.items()})
    whole = joined(parts)
    if order == (1, 1, 1, 1):
        assert whole.keys() == single.keys()
        return
    expected = rows(several, *order)
    assert whole.keys() == expected.keys()
    absent = torch.arange(1, 4) >= expected["source_count"][:, None]
    for key in further:
        expected[key][absent] = 0
    assert all(value.equal(expected[key]) for key, value in whole.items())


def test_one_source_has_the_bytes_that_it_had(case):
    pipeline, single, several = case
    assert latents(pipeline, several, 1).equal(latents(pipeline, single, 1))


def test_each_source_matters_and_padding_does_not(case):
    pipeline, _, several = case
    before = latents(pipeline, several, 0)
    for key in [key for key in several if key.startswith("further_")]:
        for place, matters in ((0, True), (1, False)):
            changed = several[key].clone()
            changed[0, place] = changed[0, place] - 1
            after = latents(pipeline, {**several, key: changed}, 0)
            assert (not after.equal(before)) == matters, key


def test_a_source_twice_is_the_source(case):
    pipeline, single, several = case
    if "texture_clip" in single:
        pytest.skip("MCLD's mid block weighs two sources against one texture")
    twice = {key: single[key.removeprefix("further_")][:, None] for key in several if key.startswith("further_")}
    batch = {**single, **twice, "source_count": torch.full((4,), 2)}
    torch.testing.assert_close(latents(pipeline, batch, 0), latents(pipeline, single, 0), atol=2e-5, rtol=1e-4)


def test_a_source_without_a_face_takes_no_attention():
    pipeline = tiny_mcld()
    batch = mcld_batch(pipeline, 2)
    faces = torch.stack([batch["face"][0], torch.zeros(512)])
    several = {**batch, "source_count": torch.tensor([2, 2]), "further_face": faces.flip(0)[:, None]}
    several["face"] = torch.stack([batch["face"][0], torch.zeros(512)])
    found = pipeline.conditioner.faces(several)
    assert (found == batch["face"][0]).all()


def test_plain_ip_attention_takes_one_source():
    pipeline = tiny_mcld(aggregation="ip")
    batch = mcld_batch(pipeline, 1)
    several = {**batch, "source_count": torch.tensor([2])}
    several |= {f"further_{key}": batch[key][:, None] for key in ("source_clip", "face")}
    with pytest.raises(PgpisError, match="one source"):
        latents(pipeline, several, 0)


def test_sets_are_repeated_whole():
    values = torch.arange(6.0).view(2, 3, 1)
    present = torch.tensor([[True, False, True], [True, True, True]])
    assert side_by_side(values, present)[..., 0].tolist() == [[0, 2, 0, 2, 0, 2], [3, 4, 5, 3, 4, 5]]
    assert mean_of_sources(values, present)[:, 0].tolist() == [1, 4]


def test_gradients_reach_the_encoder_of_all_sources():
    weight = torch.ones(3, requires_grad=True)
    batch = {"face": torch.ones(2, 3), "further_face": torch.ones(2, 1, 3), "source_count": torch.tensor([1, 2])}
    each = encode_sources(batch, "face", lambda values, _: values * weight)
    side_by_side(each, present_sources(batch, 2)).sum().backward()
    assert weight.grad.tolist() == [4, 4, 4]  # the only source of the first pair is repeated

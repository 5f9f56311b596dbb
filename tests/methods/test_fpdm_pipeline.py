"""FPDM's pipeline as a user calls it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.methods.fpdm import FPDMPipeline
from pgpis.models import build_scheduler
from pgpis.pictures.drawing import CANVAS, centre_on_canvas
from pgpis.pictures.images import fit_images
from tiny_fpdm import CLIP, HEIGHT, WIDTH, random_batch, tiny_components, tiny_pipeline

SIZE = {"height": HEIGHT, "width": WIDTH}


@pytest.fixture(scope="module")
def pipeline() -> FPDMPipeline:
    return tiny_pipeline()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(seed: int, width: int = 30, height: int = 50) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def latents_of(pipeline: FPDMPipeline, batch, **arguments) -> torch.Tensor:
    return pipeline.generate(batch, output_type="latent", **{"num_inference_steps": 3, **arguments}).images


def rows_of(batch, rows):
    return {key: value[rows] for key, value in batch.items()}


def same(first: torch.Tensor, second: torch.Tensor) -> None:
    torch.testing.assert_close(first, second, atol=1e-4, rtol=0)


def different(first: torch.Tensor, second: torch.Tensor) -> None:
    assert (first - second).abs().max() > 1e-2


def test_pictures_in_pictures_out(pipeline):
    images = pipeline(picture(0), picture(1), num_inference_steps=2, generator=seeded(0), **SIZE).images
    assert [(image.mode, image.size) for image in images] == [("RGB", (WIDTH, HEIGHT))]
    again = pipeline(picture(0), picture(1), num_inference_steps=2, generator=seeded(0), **SIZE).images
    assert np.abs(np.asarray(images[0], dtype=int) - np.asarray(again[0], dtype=int)).max() <= 1


def test_user_pictures_are_prepared_like_the_data_sets(pipeline):
    specs = pipeline.input_specs(**SIZE)
    poses = [centre_on_canvas(picture(10 + i), CANVAS) for i in range(2)]
    prepared = [fit_images({"source": picture(i), "pose": poses[i]}, specs) for i in range(2)]
    batch = {key: torch.stack([pair[key] for pair in prepared]) for key in prepared[0]}
    called = pipeline(
        [picture(0), picture(1)],
        [np.asarray(picture(10)), picture(11).convert("RGBA")],
        num_inference_steps=3,
        generator=seeded(0),
        output_type="latent",
        **SIZE,
    ).images
    same(called, latents_of(pipeline, batch, generator=seeded(0)))


def test_one_source_serves_all_poses(pipeline):
    poses = [picture(i) for i in range(2)]
    options = {"num_inference_steps": 2, "output_type": "latent", **SIZE}
    one = pipeline(picture(9), poses, generator=seeded(0), **options).images
    same(one, pipeline([picture(9)] * 2, poses, generator=seeded(0), **options).images)


@pytest.mark.parametrize("scales", [{}, {"pose_guidance_scale": 3.0}, {"guidance_scale": 1.0}])
@pytest.mark.parametrize("num_images", [1, 2])
def test_cache_changes_nothing(pipeline, scales, num_images):
    batch, options = random_batch(pipeline, 2), {"num_images_per_pair": num_images, **scales}
    cached = latents_of(pipeline, batch, generator=seeded(0), **options)
    same(cached, latents_of(pipeline, batch, generator=seeded(0), cache_keys_values=False, **options))


def test_without_the_caching_processors_the_result_is_the_same(pipeline):
    batch = random_batch(pipeline, 2)
    expected = latents_of(pipeline, batch, generator=seeded(0))
    processors = pipeline.unet.attn_processors
    pipeline.unet.set_attn_processor(AttnProcessor2_0())
    assert not pipeline.unet.supports_cache
    same(latents_of(pipeline, batch, generator=seeded(0)), expected)
    pipeline.unet.set_attn_processor(processors)


def test_everything_constant_is_computed_once(pipeline):
    counts = {"to_k": 0, "unet": 0, "source_encoder": 0, "fusion_embedder": 0, "pose_encoder": 0}
    modules = {
        "to_k": pipeline.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k,
        "unet": pipeline.unet,
        "source_encoder": pipeline.source_encoder,
        "fusion_embedder": pipeline.fusion_embedder,
        "pose_encoder": pipeline.conditioner.pose_encoder,
    }

    def count(name):
        def hook(*_):
            counts[name] += 1

        return hook

    handles = [module.register_forward_hook(count(name)) for name, module in modules.items()]
    latents_of(pipeline, random_batch(pipeline, 1), num_inference_steps=4, generator=seeded(0))
    for handle in handles:
        handle.remove()
    assert counts == {"to_k": 1, "unet": 4, "source_encoder": 1, "fusion_embedder": 1, "pose_encoder": 1}


def test_equal_scales_give_the_three_branch_result(pipeline):
    batch = random_batch(pipeline, 2)
    two = latents_of(pipeline, batch, generator=seeded(0), guidance_scale=2.0)
    nearly = latents_of(pipeline, batch, generator=seeded(0), guidance_scale=2.0, pose_guidance_scale=2.0 + 1e-9)
    same(two, nearly)
    different(two, latents_of(pipeline, batch, generator=seeded(0), guidance_scale=2.0, pose_guidance_scale=4.0))


@pytest.mark.parametrize(("scales", "rows"), [((1.0, None), 1), ((2.0, None), 2), ((2.0, 2.0), 2), ((2.0, 3.0), 3)])
def test_number_of_branches_that_run(pipeline, scales, rows):
    seen = []
    handle = pipeline.unet.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    batch = random_batch(pipeline, 1)
    latents_of(pipeline, batch, num_inference_steps=1, guidance_scale=scales[0], pose_guidance_scale=scales[1])
    handle.remove()
    assert seen == [rows]


def test_results_are_tiled_over_pairs(pipeline):
    batch, start = random_batch(pipeline, 2), torch.randn(6, 4, HEIGHT // 2, WIDTH // 2, generator=seeded(1))
    ddim = FPDMPipeline(**{**pipeline.components, "scheduler": build_scheduler({"_class_name": "DDIMScheduler"})})
    ddim.set_progress_bar_config(disable=True)
    tiled = latents_of(ddim, batch, num_images_per_pair=3, latents=start)
    for row in range(6):
        pair = row % 2
        same(tiled[row : row + 1], latents_of(ddim, rows_of(batch, [pair]), latents=start[row : row + 1]))


@pytest.mark.parametrize("num_images", [1, 2])
def test_a_pairs_result_does_not_depend_on_its_batch(pipeline, num_images):
    batch, options = random_batch(pipeline, 3), {"num_images_per_pair": num_images}
    together = latents_of(pipeline, batch, generator=[seeded(i) for i in range(3)], **options)
    for pair in range(3):
        alone = latents_of(pipeline, rows_of(batch, [pair]), generator=[seeded(pair)], **options)
        same(alone, together[pair::3])
    one_seed = latents_of(pipeline, rows_of(batch, [0, 0, 0]), generator=[seeded(0) for _ in range(3)], **options)
    same(one_seed[0], one_seed[1])


@pytest.mark.parametrize(
    "name",
    [
        "DDPMScheduler",
        "DDIMScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "HeunDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
        "PNDMScheduler",
    ],
)
def test_any_scheduler(pipeline, name):
    scheduled = FPDMPipeline(**{**pipeline.components, "scheduler": build_scheduler({"_class_name": name})})
    scheduled.set_progress_bar_config(disable=True)
    batch = random_batch(pipeline, 2)
    latents = latents_of(scheduled, batch, num_inference_steps=5, generator=seeded(0))
    assert latents.isfinite().all()
    same(latents, latents_of(scheduled, batch, num_inference_steps=5, generator=seeded(0)))
    different(latents, latents_of(scheduled, batch, num_inference_steps=5, generator=seeded(1)))


@pytest.mark.parametrize(
    "variant",
    [{}, {"prior": False}, {"combiner": False}, {"prior": False, "source": CLIP}],
    ids=["B6", "B3", "B4", "B1"],
)
def test_save_and_load(variant, tmp_path):
    saved = tiny_pipeline(**variant)
    saved.save_pretrained(tmp_path)
    loaded = FPDMPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    for name, component in saved.components.items():
        if isinstance(component, torch.nn.Module):
            mine, theirs = component.state_dict(), loaded.components[name].state_dict()
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(value, theirs[key]) for key, value in mine.items()), name
            assert not loaded.components[name].training
    assert (loaded.fusion_embedder is None) == (variant.get("prior") is False)
    batch = random_batch(saved, 2)
    same(latents_of(loaded, batch, generator=seeded(0)), latents_of(saved, batch, generator=seeded(0)))


def test_old_position_interpolation_survives_saving(tmp_path):
    components = tiny_components()
    components["conditioner"].register_to_config(position_interpolation="scale_factor")
    old = FPDMPipeline(**components)
    old.set_progress_bar_config(disable=True)
    batch = random_batch(old, 1)
    expected = latents_of(old, batch, generator=seeded(0))
    different(expected * 100, latents_of(tiny_pipeline(), batch, generator=seeded(0)) * 100)
    old.save_pretrained(tmp_path)
    loaded = FPDMPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    same(latents_of(loaded, batch, generator=seeded(0)), expected)


def test_dropout_is_off_while_sampling_and_on_again_after(pipeline):
    batch = random_batch(pipeline, 1)
    expected = latents_of(pipeline, batch, generator=seeded(0))
    pipeline.conditioner.train()
    pipeline.fusion_embedder.fusion_head.train()
    same(latents_of(pipeline, batch, generator=seeded(0)), expected)
    assert all(module.training for module in pipeline.conditioner.modules())
    assert pipeline.fusion_embedder.fusion_head.training
    assert not pipeline.fusion_embedder.encoder.training
    pipeline.conditioner.eval()
    pipeline.fusion_embedder.eval()


def test_bfloat16_starts_from_the_same_noise(pipeline):
    half = tiny_pipeline().to(torch.bfloat16)
    half.set_progress_bar_config(disable=True)
    batch = random_batch(pipeline, 1)
    first = latents_of(pipeline, batch, generator=seeded(0), num_inference_steps=1)
    torch.testing.assert_close(
        latents_of(half, batch, generator=seeded(0), num_inference_steps=1), first, atol=0.3, rtol=0
    )
    assert half.generate(batch, num_inference_steps=1, output_type="pt").images.dtype == torch.float32


def test_callback_may_replace_latents(pipeline):
    seen = []

    def zero(_pipeline, step, timestep, tensors):
        seen.append((step, timestep))
        return {"latents": torch.zeros_like(tensors["latents"])}

    final = latents_of(pipeline, random_batch(pipeline, 1), callback_on_step_end=zero)
    assert seen == [(0, 667), (1, 334), (2, 1)]
    assert final.abs().max() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 25}, "height and width are 25 and 20, expected multiples of 2"),
        ({"source": ["a.jpg"]}, "source: got str, expected a PIL picture"),
        ({"pose": np.zeros((4, 4), dtype=np.uint8)}, r"pose: got uint8 array \(4, 4\)"),
        ({"source": [picture(0)] * 2, "pose": [picture(1)] * 3}, "source: got 2 pictures, expected 1 or 3"),
        ({"pose_guidance_scale": float("nan")}, "pose_guidance_scale is nan"),
        ({"latents": torch.zeros(1, 4, 3, 3)}, r"latents have shape \(1, 4, 3, 3\), expected \(1, 4, 12, 10\)"),
        ({"generator": [seeded(0)] * 3}, "got 3 generators, expected one, 1 or 1"),
    ],
)
def test_mistakes_are_named(pipeline, change, message):
    with pytest.raises(PgpisError, match=message):
        pipeline(**{"source": picture(0), "pose": picture(1), "num_inference_steps": 1, **SIZE, **change})


def test_missing_entries_are_named(pipeline):
    batch = random_batch(pipeline, 1)
    del batch["prior_pose"]
    with pytest.raises(PgpisError, match="the batch lacks 'prior_pose'"):
        pipeline.generate(batch)


def test_components_that_do_not_fit_are_refused():
    components = tiny_components()
    with pytest.raises(PgpisError, match="source_dim is for 16, the others have 24"):
        FPDMPipeline(
            **{**components, "source_encoder": tiny_components(source={**CLIP, "hidden_size": 24})["source_encoder"]}
        )
    with pytest.raises(PgpisError, match="fusion_dim is for 12, the others have None"):
        FPDMPipeline(**{**components, "fusion_embedder": None})
    with pytest.raises(PgpisError, match="class_embed_type=None, expected 'identity'"):
        FPDMPipeline(**{**components, "unet": tiny_components(prior=False)["unet"]})

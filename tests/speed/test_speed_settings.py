"""Words of ``--compare``, and random weights in the place of published ones."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from pgpis.batch import ImageSpec
from pgpis.errors import PgpisError
from pgpis.methods.fpdm.options import FPDMPorts, FPDMSampling
from pgpis.methods.fpdm.task import FPDMTask
from pgpis.methods.mcld.task import MCLDTask
from pgpis.speed.random_weights import published, use_random_weights
from pgpis.speed.settings import EAGER, Setting, read_settings
from pgpis.tasks.options import FlowLoss
from tiny_fpdm import CLIP, DINO, HEIGHT, UNET, VAE, WIDTH


@pytest.fixture
def task():
    return FPDMTask(
        FPDMSampling(height=HEIGHT, width=WIDTH),
        unet=UNET,
        vae=VAE,
        scheduler={"_class_name": "DDPMScheduler"},
        source_encoder=DINO,
        fusion_embedder={"encoder": CLIP},
        conditioner=FPDMPorts(source_size=28, pose_hidden_channels=(4, 8), token_hidden_dim=16),
    )


def test_words_are_combined():
    eager, both = read_settings("eager, bf16+compile+channels-last", "model")
    assert eager == EAGER
    assert both == Setting("bf16+compile+channels-last", "bf16-true", compiled=True, channels_last=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bf61", "no setting 'bf61'; did you mean 'bf16'"),
        ("bf16+fp16", "bf16+fp16: two words set precision"),
        ("eager+compile", "eager+compile: two words set compiled"),
        ("", "no setting ''"),
    ],
)
def test_refuses_words_that_mean_nothing(text, message):
    with pytest.raises(PgpisError) as refusal:
        read_settings(text, "model")
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("words", "recipe", "is_gpu", "dtype"),
    [
        ("eager", "16-mixed", True, "fp16"),
        ("bf16", "16-mixed", True, "bf16"),
        ("eager", "32-true", True, "tf32"),
        ("fp32", "16-mixed", True, "fp32"),
        ("tf32", "32-true", False, "fp32"),
    ],
)
def test_says_what_products_are_computed_in(words, recipe, is_gpu, dtype):
    assert read_settings(words, "model")[0].dtype(recipe, is_gpu=is_gpu) == dtype


def test_a_setting_is_applied_to_a_copy(task):
    words = "channels-last+checkpointing+compile+fused"
    copy = read_settings(words, "train")[0].apply_to(task, torch.device("cpu"))
    assert copy.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert copy.unet.is_gradient_checkpointing
    assert copy.unet._compiled_call_impl is not None
    optimizer = copy.optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert optimizer.param_groups[0]["fused"]
    assert task.unet._compiled_call_impl is None
    assert not task.unet.is_gradient_checkpointing


def test_shortcuts_are_those_of_sampling(task):
    band, both = read_settings("guidance-band,deep-cache+compile", "model")
    assert band.apply_to(task, torch.device("cpu")).sampling.shortcuts == {"guidance_band": (0.25, 0.75)}
    assert both.apply_to(task, torch.device("cpu")).sampling.shortcuts == {"deep_cache": 3}
    task.sampling = replace(task.sampling, deep_cache=2)
    assert EAGER.apply_to(task, torch.device("cpu")).sampling.shortcuts == {"deep_cache": 2}, "as in the recipe"


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("train", "deep-cache"),
        ("train", "guidance-band"),
        ("train", "no-refiner"),
        ("model", "fused"),
        ("model", "checkpointing"),
        ("model", "flow-loss"),
    ],
)
def test_words_that_change_nothing_are_refused(kind, word):
    with pytest.raises(PgpisError, match=f"--compare bf16.{word}: '{word}' changes nothing in bench {kind}"):
        read_settings(f"eager,bf16+{word}", kind)


@pytest.mark.parametrize(
    ("word", "sampling", "reason"),
    [
        ("guidance-band", {"guidance_scale": 1.0}, "guidance is 1.0, and one branch"),
        ("guidance-band", {"guidance_scale": 0.5, "pose_guidance_scale": 0.5}, "guidance is 0.5"),
        ("deep-cache", {"num_inference_steps": 1}, "the first step is whole"),
        ("no-refiner", {}, "draws without one"),
    ],
)
def test_words_that_change_nothing_in_a_model_are_refused(task, word, sampling, reason):
    setting = read_settings(f"bf16+{word}", "model")[0]
    task.sampling = replace(task.sampling, **sampling)
    with pytest.raises(PgpisError, match=f"--compare bf16.{word}: '{word}' changes nothing: .*{reason}"):
        setting.check(task)


def test_a_flow_loss_that_is_there_or_has_nothing_to_look_at_is_refused(task):
    (setting,) = read_settings("flow-loss", "train")
    setting.check(task)
    task.step = replace(task.step, flow_loss=FlowLoss(weight=0.1))
    with pytest.raises(PgpisError, match="'flow-loss' changes nothing: the recipe has it"):
        setting.check(task)


def test_further_sources_of_a_task_that_reads_none_are_refused():
    task = SimpleNamespace(input_specs={"target_image": ImageSpec("target", HEIGHT, WIDTH)})
    with pytest.raises(PgpisError, match="'three-sources' changes nothing: this task reads no source"):
        read_settings("three-sources", "train")[0].check(task)


@pytest.mark.parametrize(
    ("word", "sampling"),
    [
        ("guidance-band", {"guidance_scale": 1.5}),
        ("guidance-band", {"guidance_scale": 1.0, "pose_guidance_scale": 0.5}),  # three branches
        ("deep-cache", {"num_inference_steps": 2}),
        ("no-refiner", {}),
        ("two-sources", {}),
    ],
)
def test_words_that_change_something_are_taken(task, word, sampling):
    task.refiner = torch.nn.Identity()
    task.sampling = replace(task.sampling, **sampling)
    read_settings(f"bf16+{word}", "model")[0].check(task)


def test_tf32_is_for_one_setting_alone():
    before = torch.backends.cuda.matmul.allow_tf32
    with read_settings("tf32", "model")[0].products():
        assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32 == before


def options_of(task):
    """Return the options of a task as jsonargparse has them for a recipe that names hub ids."""
    named = {"source_encoder": "facebook/dinov2-giant", "fusion_embedder": "outputs/none"}
    if task is MCLDTask:
        named = {"image_encoder": "openai/clip-vit-large-patch14", "conditioner": {"pose_encoder": "some/controlnet"}}
    base = "stabilityai/stable-diffusion-2-1" if task is FPDMTask else "runwayml/stable-diffusion-v1-5"
    return {"base": base, "unet": None, "vae": None, "scheduler": None, "pipeline": None, **named}


def test_fpdm_gets_the_sizes_that_its_recipe_names():
    options = options_of(FPDMTask)
    use_random_weights(options, FPDMTask)
    assert options["unet"]["cross_attention_dim"] == 1024
    assert options["source_encoder"]["hidden_size"] == 1536
    assert options["fusion_embedder"]["encoder"]["projection_dim"] == 768
    assert options["scheduler"]["_class_name"] == "DDPMScheduler"


def test_mcld_keeps_its_own_noise_schedule():
    options = options_of(MCLDTask)
    assert use_random_weights(options, MCLDTask)[-1] == "some/controlnet"
    assert options["unet"]["cross_attention_dim"] == 768
    assert options["scheduler"] is None
    assert options["conditioner"]["pose_encoder"] is None


def test_folders_and_pipelines_stay(tmp_path):
    options = options_of(MCLDTask) | {"image_encoder": str(tmp_path)}
    use_random_weights(options, MCLDTask)
    assert options["image_encoder"] == str(tmp_path)
    pipeline = options_of(MCLDTask) | {"pipeline": "synth-mcld"}
    assert use_random_weights(dict(pipeline), MCLDTask) == []


def test_an_unknown_size_is_refused_by_name():
    with pytest.raises(PgpisError, match="source_encoder: the size of 'facebook/dinov3'"):
        use_random_weights(options_of(FPDMTask) | {"source_encoder": "facebook/dinov3"}, FPDMTask)


@pytest.mark.slow
@pytest.mark.parametrize(("base", "weights"), [("stable-diffusion-v1-5/stable-diffusion-v1-5", 859_520_964)])
def test_the_denoiser_has_as_many_weights_as_the_published_one(base, weights):
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**published()["bases"][base]["unet"])
    assert sum(value.numel() for value in unet.parameters()) == weights

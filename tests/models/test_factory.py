"""Building components from a configuration, a folder or a hub id, and what is said when that fails."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler
from diffusers.utils import DummyObject
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel

from pgpis.convert.filling import fill_module
from pgpis.denoiser import build_unet
from pgpis.errors import PgpisError
from pgpis.methods.fpdm.prior import build_fusion_embedder
from pgpis.methods.mcld.reference import build_reference_net
from pgpis.methods.mcld.task import NOISE
from pgpis.models import build_scheduler, build_vae, build_vision_encoder, load_vision_encoder, vision_encoder_config
from pgpis.models.factory import NOISE_LEVELS, build_sampler
from tiny_fpdm import CLIP, DINO, UNET, VAE, randomize


@pytest.mark.parametrize("config", [CLIP, DINO], ids=["clip", "dino"])
def test_encoder_from_folder_and_weights(config, tmp_path):
    encoder = randomize(build_vision_encoder(config))
    encoder.save_pretrained(tmp_path)
    weights = encoder.state_dict()
    stored = load_file(tmp_path / "model.safetensors")  # in the published names
    for copy in (
        build_vision_encoder(str(tmp_path)),
        load_vision_encoder(config, stored),
        load_vision_encoder(config, weights),
        load_vision_encoder(vision_encoder_config(encoder), stored),
    ):
        assert type(copy) is type(encoder)
        assert not copy.training
        assert copy.state_dict().keys() == weights.keys()
        assert all(torch.equal(value, weights[name]) for name, value in copy.state_dict().items())


def test_encoder_weights_load_strictly():
    encoder = build_vision_encoder(CLIP)
    weights = encoder.state_dict()
    weights["extra.weight"] = torch.zeros(1)
    with pytest.raises(PgpisError, match=r"unexpected keys: extra\.weight"):
        load_vision_encoder(CLIP, weights)
    del weights["extra.weight"], weights["visual_projection.weight"]
    with pytest.raises(PgpisError, match=r"missing keys: visual_projection\.weight"):
        load_vision_encoder(CLIP, weights)
    weights["visual_projection.weight"] = torch.zeros(1, 16)
    with pytest.raises(PgpisError, match=r"mismatched keys: .*visual_projection\.weight"):
        load_vision_encoder(CLIP, weights)
    weights["visual_projection.weight"] = encoder.visual_projection.weight.int()
    for load in (load_vision_encoder, lambda _, weights: fill_module("clip", encoder, weights)):
        with pytest.raises(PgpisError, match=r"'visual_projection\.weight' is stored as integers"):
            load(CLIP, weights)


def test_a_whole_clip_gives_its_vision_half(tmp_path):
    vision = {key: value for key, value in CLIP.items() if key not in ("model_type", "projection_dim")}
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = CLIPConfig(vision_config={**vision, "projection_dim": 12}, text_config=text, projection_dim=12)
    whole = randomize(CLIPModel(config))
    whole.save_pretrained(tmp_path)
    encoder = build_vision_encoder(str(tmp_path))
    assert encoder.config.projection_dim == 12
    weights = whole.state_dict()
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_diffusers_weights_load_strictly(tmp_path):
    build_unet(UNET).save_pretrained(tmp_path / "unet")
    file = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["conv_in.bias"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(PgpisError, match=r"missing keys: conv_in\.bias"):
        build_unet(str(tmp_path))


@pytest.mark.parametrize(
    ("build", "spec", "message"),
    [
        (build_vision_encoder, {**CLIP, "hiden_size": 8}, "no such key 'hiden_size'; did you mean 'hidden_size'"),
        (build_vision_encoder, {"model_type": "dinov3"}, "did you mean 'dinov2'"),
        (build_unet, {**UNET, "layer_per_block": 1}, "did you mean 'layers_per_block'"),
        (build_vae, {**VAE, "latent_channel": 4}, "did you mean 'latent_channels'"),
        (build_scheduler, {"beta_strat": 0.1}, "did you mean 'beta_start'"),
        (build_scheduler, {"_class_name": "DDPMSheduler"}, "did you mean 'DDPMScheduler'"),
        (build_unet, {**UNET, "norm_num_groups": 7}, "unet: its configuration describes no model: num_channels"),
        (build_unet, {**UNET, "norm_num_groups": 0}, "unet: its configuration describes no model"),
        (build_reference_net, {**UNET, "norm_num_groups": 7}, "reference_net: its configuration describes no model"),
        (build_vae, {**VAE, "layers_per_block": None}, "vae: its configuration describes no model"),
        (build_vae, {**VAE, "scaling_factor": "x"}, "vae: 'scaling_factor' is 'x', expected a number"),
        (build_scheduler, {"clip_sample": "no"}, "scheduler: 'clip_sample' is 'no', expected true or false"),
        (
            build_scheduler,
            {"prediction_type": "v_predict"},
            "no such prediction_type 'v_predict'; did you mean 'v_pred",
        ),
        (build_scheduler, {"timestep_spacing": 3}, "scheduler: no such timestep_spacing '3'; one of linspace, leading"),
        (build_scheduler, {"beta_schedule": "x"}, "scheduler: the configuration of DDPMScheduler describes no model"),
        (
            build_vision_encoder,
            {**CLIP, "num_attention_heads": 3},
            "is not a multiple of the number of attention heads",
        ),
        (build_vision_encoder, {**CLIP, "hidden_act": "x"}, "describes no model: there is no 'x'"),
        (build_vision_encoder, {**DINO, "patch_size": 0}, "vision encoder: its configuration describes no model"),
        (build_fusion_embedder, {"encoder": CLIP, "hidden_dim": "x"}, "fusion_embedder: its configuration describes"),
        (build_vision_encoder, "/nowhere/encoder", "folder not found: /nowhere/encoder"),
        (build_vae, "./nowhere", "folder not found"),
        (build_vae, "nowhere", "folder not found: nowhere"),  # names of the hub have a slash
        (build_unet, "stabilityai/stable-diffusion-2-1", "hf download stabilityai/stable-diffusion-2-1"),
        (build_vision_encoder, "openai/clip-vit-large-patch14", "hf download openai/clip-vit-large-patch14"),
        (build_scheduler, "stabilityai/stable-diffusion-2-1", "hf download stabilityai/stable-diffusion-2-1"),
    ],
)
def test_mistakes_are_named(build, spec, message):
    with pytest.raises(PgpisError) as error:
        build(spec)
    assert message in str(error.value)


def test_vae_round_trip(tmp_path):
    vae = randomize(build_vae(VAE))
    vae.save_pretrained(tmp_path / "vae")
    loaded = build_vae(str(tmp_path)).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in vae.state_dict().items())


def test_scheduler_defaults_are_those_of_stable_diffusion():
    scheduler = build_scheduler()
    assert isinstance(scheduler, DDPMScheduler)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    torch.testing.assert_close(scheduler.alphas_cumprod, (1 - betas).cumprod(0))
    scheduler.set_timesteps(20)
    assert scheduler.timesteps.tolist() == list(range(951, 0, -50))
    assert scheduler.config.prediction_type == "v_prediction"


def test_scheduler_of_another_class_and_from_folder(tmp_path):
    euler = build_scheduler({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True})
    assert isinstance(euler, EulerDiscreteScheduler)
    assert euler.config.beta_end == 0.012
    assert euler.config.use_karras_sigmas
    build_scheduler({"num_train_timesteps": 50}).save_pretrained(tmp_path / "scheduler")
    assert build_scheduler(str(tmp_path)).config.num_train_timesteps == 50


@pytest.mark.parametrize("kind", ["EulerDiscrete", "UniPCMultistep", "DPMSolverMultistep", "DDPM", "LCM"])
@pytest.mark.parametrize("levels", [{}, {"beta_schedule": "linear", "prediction_type": "epsilon"}])
def test_another_sampler_has_the_noise_levels_of_training(kind, levels):
    name = f"{kind}Scheduler"
    trained = build_scheduler({**NOISE, **levels})
    sampler = build_sampler(trained, {"_class_name": name}, NOISE)
    assert type(sampler).__name__ == name
    for key in NOISE_LEVELS:
        assert sampler.config[key] == trained.config[key], key
    assert sampler.config.timestep_spacing == "trailing"
    own = build_sampler(trained, {"_class_name": name, "beta_end": 0.02}, NOISE)
    assert own.config.beta_end == 0.02


def test_a_sampler_without_the_noise_levels_of_training_is_refused():
    trained = build_scheduler(NOISE)
    with pytest.raises(PgpisError, match="PNDMScheduler has no rescale_betas_zero_snr, with which this model was"):
        build_sampler(trained, {"_class_name": "PNDMScheduler"})
    with pytest.raises(PgpisError, match="prediction_type is sample, and this model was trained to predict v_pred"):
        build_sampler(trained, {"prediction_type": "sample"})
    assert type(build_sampler(trained, {"timestep_spacing": "leading"}, NOISE)).__name__ == "DDIMScheduler"
    with pytest.raises(PgpisError, match="did you mean 'beta_start'"):
        build_sampler(trained, {"beta_strat": 1})
    with pytest.raises(PgpisError, match="diffusers has no 'os"):
        build_sampler(trained, {"_class_name": "os.system"})
    assert build_sampler(trained, {"timestep_spacing": "leading"}, NOISE).config.timestep_spacing == "leading"


ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "steps_offset": 0}


def test_a_sampler_of_the_same_class_is_the_trained_one_but_for_what_is_given():
    trained = build_scheduler({**ZERO_SNR, "clip_sample_range": 3.0})
    sampler = build_sampler(trained, {"variance_type": "fixed_large"})
    assert sampler.config.variance_type == "fixed_large"
    same = [key for key in trained.config if key != "variance_type" and not key.startswith("_")]
    assert {key: sampler.config[key] for key in same} == {key: trained.config[key] for key in same}


def test_betas_of_ones_own_are_noise_levels():
    trained = build_scheduler({"trained_betas": [0.1, 0.2, 0.3], "num_train_timesteps": 3})
    assert torch.equal(build_sampler(trained, {"_class_name": "DDIMScheduler"}).betas, trained.betas)


@pytest.mark.parametrize("build", [build_scheduler, lambda spec: build_sampler(DDPMScheduler(), spec)])
def test_a_sampler_of_a_library_that_is_not_installed_names_it(build, monkeypatch):
    class NoSampler(metaclass=DummyObject):
        _backends = ("torch", "torchsde")

    monkeypatch.setattr("diffusers.NoScheduler", NoSampler, raising=False)
    with pytest.raises(PgpisError, match="NoScheduler needs torch and torchsde"):
        build({"_class_name": "NoScheduler"})


def test_no_weight_of_a_trained_dinov2_is_without_gradient():
    """DDP waits for every weight that takes one."""
    encoder = build_vision_encoder(DINO).train()
    encoder(torch.rand(1, 3, 28, 28)).last_hidden_state.sum().backward()
    lacking = [name for name, weight in encoder.named_parameters() if weight.requires_grad and weight.grad is None]
    assert not lacking

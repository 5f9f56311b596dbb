"""Options of tasks: what their values change, what is refused, and that their help is that of their fields."""

import dataclasses
import json

import pytest
import torch

from pgpis.cli import main
from pgpis.data.features import feature_key
from pgpis.errors import PgpisError
from pgpis.methods.fpdm.options import FPDMDropping, FPDMPorts, FPDMSampling, FPDMStep
from pgpis.methods.fpdm.pipeline import FPDMPipeline
from pgpis.methods.fpdm.task import FPDMTask
from pgpis.methods.mcld.losses import face_region, focal_loss, min_snr_weights
from pgpis.methods.mcld.options import MCLDDropping, MCLDPorts, MCLDSampling, MCLDStep
from pgpis.methods.mcld.task import MCLDTask
from pgpis.models.weights import weights_hash
from pgpis.speed.batches import RandomData, random_batch
from pgpis.tasks.options import Schedule
from tiny_fpdm import CLIP, DINO, HEIGHT, UNET, VAE, WIDTH
from tiny_tasks import NOISE, tiny_fpdm_task, tiny_mcld_task

METHODS = {
    "fpdm": (tiny_fpdm_task, FPDMTask, FPDMSampling(HEIGHT, WIDTH)),
    "mcld": (tiny_mcld_task, MCLDTask, MCLDSampling(HEIGHT, WIDTH)),
}
OPTIONS = (Schedule, FPDMSampling, FPDMDropping, FPDMStep, FPDMPorts, MCLDSampling, MCLDDropping, MCLDStep, MCLDPorts)


def test_defaults_are_the_methods_own():
    """Also where some are given by hand."""
    assert dataclasses.asdict(FPDMSampling(num_inference_steps=3)) == {
        "height": 512, "width": 352, "output_size": None, "num_inference_steps": 3, "guidance_scale": 2.0,
        "guidance_band": None, "deep_cache": None, "images_per_pair": 1, "vae_tiling": False, "offload": "none",
        "scheduler": None, "video": {"shared_noise": False, "anchor": False}, "refine": True,
        "pose_guidance_scale": None,
    }  # fmt: skip
    assert (MCLDSampling().width, MCLDSampling().guidance_scale, MCLDStep().noise_offset) == (512, 3.5, 0.05)
    assert (FPDMStep(compile_unet=True).noise_offset, FPDMDropping().draw(0, torch.Generator()).keys()) == (
        0.1,
        {"source": 0, "pose": 0, "fusion": 0}.keys(),
    )


@pytest.mark.parametrize(
    "same",
    [
        {"deep_cache": 1},
        {"guidance_band": (0.0, 1.0)},
        {"guidance_band": [0, 1]},
        {"output_size": (64, 48)},
        {"pose_guidance_scale": 2},
        {"guidance_scale": 2},
    ],
)
def test_what_changes_no_picture_is_no_other_setting(same):
    usual = FPDMSampling(64, 48)
    assert json.dumps(FPDMSampling(64, 48, **same).settings) == json.dumps(usual.settings)
    assert not FPDMSampling(64, 48, **same).shortcuts


def test_settings_hold_all_that_changes_a_picture():
    others = {"deep_cache": 2, "output_size": [64, 40], "pose_guidance_scale": 1.5, "refine": False}
    assert FPDMSampling(64, 48, guidance_band=(0.2, 0.8), **others).settings == {
        "height": 64, "width": 48, "steps": 20, "guidance_scale": 2.0, "guidance_band": [0.2, 0.8], **others,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule(warmup_epochs=-1), "schedule.warmup_epochs is -1"),
        (lambda: Schedule(decay_epochs=(1, -1)), "schedule.decay_epochs is -1"),
        (lambda: FPDMSampling(output_size=(0, 8)), "sampling.output_size is 0"),
        (lambda: FPDMSampling(pose_guidance_scale=-1), "sampling.pose_guidance_scale is -1"),
        (lambda: FPDMDropping(pose=2), "dropping.pose is 2"),
        (lambda: MCLDDropping(all=-1), "dropping.all is -1"),
        (lambda: MCLDStep(snr_gamma=-1), "step.snr_gamma is -1"),
        (lambda: MCLDStep(snr_gamma=0), "step.snr_gamma is 0, expected a number above 0\n.*1e9, bounds no weight"),
        (lambda: Schedule(decay_factor=0), "schedule.decay_factor is 0, expected a number above 0"),
        (lambda: FPDMPorts(token_hidden_dim=0), "conditioner.token_hidden_dim is 0, expected a whole number of at"),
        (lambda: FPDMPorts(pose_hidden_channels=()), "conditioner.pose_hidden_channels is 0"),
        (lambda: MCLDPorts(pose_hidden_channels=(4, 0)), "conditioner.pose_hidden_channels is 0"),
        (lambda: MCLDPorts(resampler_depth=0), "conditioner.resampler_depth is 0"),
        (lambda: MCLDPorts(resampler_heads=0), "conditioner.resampler_heads is 0"),
        (lambda: MCLDPorts(face_tokens=0), "conditioner.face_tokens is 0"),
        (lambda: FPDMPorts(dropout=1), "conditioner.dropout is 1, expected a number from 0 to 0.99"),
        (lambda: FPDMStep(noise_offset=float("nan")), "step.noise_offset is nan"),
    ],
)
def test_values_that_nothing_can_have_are_refused(make, message):
    with pytest.raises(PgpisError, match=message):
        make()


@pytest.mark.parametrize("whole_batch", [False, True])
def test_drops_are_drawn_for_pairs_or_for_the_whole_batch(whole_batch):
    masks = MCLDDropping(whole_batch, 0.5, 0.5).draw(64, torch.Generator().manual_seed(0))
    assert all((mask.float().mean() in (0, 1)) == whole_batch for mask in masks.values())


@pytest.mark.parametrize("face_loss", [True, False])
@pytest.mark.parametrize("gamma", [5.0, 2.0])
def test_mclds_loss_is_weighted_as_asked(face_loss, gamma):
    task = tiny_mcld_task(step=MCLDStep(face_loss=face_loss, snr_gamma=gamma))
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 2, 4, HEIGHT // 2, WIDTH // 2, generator=generator)
    iuv, timesteps = torch.full((2, 3, HEIGHT, WIDTH), -1.0), torch.tensor([10, 900])
    iuv[:, 2, : HEIGHT // 2] = 23 / 127.5 - 1
    weights = min_snr_weights(task.noise_schedule.alphas_cumprod, timesteps, gamma)
    expected = focal_loss(prediction, target, weights, face_region(iuv, *target.shape[2:]) if face_loss else None)
    assert torch.equal(task.error({"pose_image": iuv}, prediction, target, timesteps), expected)


@pytest.mark.parametrize("predicted", ["epsilon", "sample", "v_prediction"])
def test_min_snr_weights_are_those_of_what_is_predicted(predicted):
    """A velocity's and noise's weights are those of the released training; a picture's are the velocity's objective."""
    task = tiny_mcld_task(step=MCLDStep(face_loss=False), scheduler={"prediction_type": predicted})
    alphas = task.noise_schedule.alphas_cumprod.double()
    timesteps = torch.arange(0, len(alphas), 7)
    snr = (alphas / (1 - alphas))[timesteps]
    picture = (snr + 1).clamp(max=5)
    expected = {"epsilon": snr.clamp(max=5) / snr, "sample": picture, "v_prediction": picture / (snr + 1)}
    prediction, target = torch.randn(2, 1, 4, 8, 6, generator=torch.Generator().manual_seed(0))
    for timestep, weight in zip(timesteps, expected[predicted], strict=True):
        loss = task.error({}, prediction, target, timestep[None])
        assert loss.item() == pytest.approx(weight.item() * (prediction - target).square().mean().item(), rel=1e-4)
    last = torch.tensor([len(alphas) - 1])
    assert alphas[last] == 0
    assert min_snr_weights(alphas, last, prediction_type=predicted) == 1


@pytest.mark.slow
@pytest.mark.parametrize("step", [{"compile_unet": True}, {"compile_unet": "blocks"}, {"channels_last": True}], ids=str)
def test_what_is_only_faster_keeps_names_loss_and_export(step, tmp_path):
    torch.compiler.set_stance("force_eager")  # what is tested is what surrounds the compiler
    try:
        plain, fast = tiny_fpdm_task(), tiny_fpdm_task(step=FPDMStep(**step))
        assert plain.state_dict().keys() == fast.state_dict().keys()
        generator = torch.Generator().manual_seed(0)
        batch = {
            key: torch.rand(2, 3, spec.height, spec.width, generator=generator) * 2 - 1
            for key, spec in plain.input_specs.items()
        }
        losses = []
        for task in (plain, fast):
            loss = task.eval().loss(batch, torch.Generator().manual_seed(1), train=True)["loss"]
            loss.backward()
            losses.append([loss.detach(), task.unet.conv_in.weight.grad])
        torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-6)
        layers = [name for name, layer in fast.unet.named_modules() if layer._compiled_call_impl is not None]
        is_blocks = bool(layers) and all("transformer_blocks" in name for name in layers)
        assert (layers == [""], is_blocks) == (step == {"compile_unet": True}, step == {"compile_unet": "blocks"})
        weight = fast.unet.conv_in.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == ("channels_last" in step)
        assert weights_hash(plain.unet) == weights_hash(fast.unet)
        exported = FPDMPipeline.from_pretrained(fast.export(str(tmp_path)))
        assert weights_hash(exported.unet) == weights_hash(plain.unet)
    finally:
        torch.compiler.set_stance("default")


def test_another_sampler_shares_the_noise_levels_of_training():
    sampling = FPDMSampling(HEIGHT, WIDTH, scheduler={"_class_name": "DDIMScheduler", "timestep_spacing": "trailing"})
    task = FPDMTask(sampling, unet=UNET, vae=VAE, scheduler=NOISE | {"beta_end": 0.02}, source_encoder=DINO,
                    conditioner=FPDMPorts(56, (4, 8), 10))  # fmt: skip
    assert (type(task.scheduler).__name__, type(task.noise_schedule).__name__) == ("DDIMScheduler", "DDPMScheduler")
    assert torch.equal(task.scheduler.alphas_cumprod, task.noise_schedule.alphas_cumprod)
    assert task.scheduler.config.timestep_spacing == "trailing"


@pytest.mark.parametrize("method", ["fpdm", "mcld"])
def test_training_goes_on_with_what_the_pipeline_predicts(method, tmp_path, caplog):
    """Where the recipe does not say; another prediction is refused, of a pipeline as of a checkpoint."""
    make, task_class, sampling = METHODS[method]
    task = make(scheduler={**NOISE, "prediction_type": "epsilon"})
    pipeline = task.export(str(tmp_path))
    with caplog.at_level("INFO"):
        again = task_class(sampling, pipeline=pipeline)
    assert again.noise_schedule.config.prediction_type == "epsilon"
    assert ("prediction_type is epsilon, as the pipeline was trained with" in caplog.text) == (method == "mcld")
    named = task_class(sampling, pipeline=pipeline, scheduler={"prediction_type": "epsilon"})
    assert torch.equal(named.noise_schedule.alphas_cumprod, again.noise_schedule.alphas_cumprod)
    with pytest.raises(PgpisError, match="prediction_type is v_prediction, and this model was trained to predict eps"):
        task_class(sampling, pipeline=pipeline, scheduler={"prediction_type": "v_prediction"})
    with pytest.raises(PgpisError, match="its denoiser predicts epsilon, and this one v_prediction"):
        make().refuse_other_checkpoint({"prediction_type": "epsilon", "state_dict": {}, "frozen": {}})


def test_what_an_encoder_computes_is_told_by_its_interpolation_as_well():
    """Its weights are the same: features and checkpoints of the other rule are refused, those of before fit."""
    ports = FPDMPorts(56, (4, 8), 10, position_interpolation="scale_factor")
    usual, other = tiny_fpdm_task(), tiny_fpdm_task(conditioner=ports)
    assert usual.frozen_hashes() == other.frozen_hashes()
    hashes = usual.frozen_hashes()
    keys = {
        task: {name: feature.weights for name, feature in task.frozen_features().items()} for task in (usual, other)
    }
    assert keys[usual] == {"target_moments": hashes["vae"], "source_tokens": hashes["source_encoder"]}
    assert keys[other]["target_moments"] == hashes["vae"]
    now = feature_key("source_image", other.input_specs, keys[other]["source_tokens"])
    stored = feature_key("source_image", usual.input_specs, keys[usual]["source_tokens"])
    assert now.difference({"key": now._asdict()}) is None
    expected = f"({hashes['source_encoder']}, now {hashes['source_encoder']} with position_interpolation scale_factor)"
    assert now.difference({"key": stored._asdict()}).endswith(expected)
    with pytest.raises(PgpisError, match="position_interpolation size, and this model has scale_factor"):
        other.refuse_other_checkpoint({"position_interpolation": "size"})
    clip = tiny_fpdm_task(source_encoder=CLIP, conditioner=dataclasses.replace(ports, source_size=32))
    assert clip.frozen_features()["source_tokens"].weights == clip.frozen_hashes()["source_encoder"]
    with pytest.raises(PgpisError, match="was not written by pgpis"):  # and not the rule
        clip.refuse_other_checkpoint({"position_interpolation": "size"})


def test_switches_that_no_other_test_names():
    """A squashed source in training; the ReferenceNet's last block."""
    detours = [tiny_fpdm_task(source_detour=on).input_specs["source_image"].train_detour for on in (True, False)]
    assert detours == [(28, 28), None]
    tail = "reference_net.up_blocks.1"
    frozen = [tail in tiny_mcld_task(step=MCLDStep(freeze_reference_tail=on)).frozen for on in (True, False)]
    assert frozen == [True, False]


def test_a_start_that_predicts_something_else_is_told(tmp_path, caplog):
    start = tiny_mcld_task(scheduler={"prediction_type": "epsilon"}).export(str(tmp_path))
    task = tiny_mcld_task(start_from=start)
    assert task.noise_schedule.config.prediction_type == task.scheduler.config.prediction_type == "v_prediction"
    assert "start_from predicts epsilon: this one learns v_prediction" in caplog.text


def test_a_task_that_must_know_its_data_says_so():
    task = tiny_mcld_task()
    with pytest.raises(PgpisError, match="clip_std is estimated from training sources"):
        task.prepare_training()
    task.data = object()
    assert task.__getstate__()["data"] is None


def test_a_loop_of_ones_own_prepares_the_training_first():
    """MCLD's noise goes by a deviation that is estimated before the first step."""
    task = tiny_mcld_task()
    batch, generator = random_batch(task.loss_specs, 2, torch.device("cpu")), torch.Generator().manual_seed(0)
    assert task.loss(batch, generator, train=False)["loss"].isfinite()
    with pytest.raises(PgpisError, match=r"clip_std is not known.*\n.*task\.prepare_training\(\)"):
        task.loss(batch, generator, train=True)
    task.data = RandomData()
    task.prepare_training()
    assert task.loss(batch, generator, train=True)["loss"].isfinite()


@pytest.mark.parametrize("task", ["FPDMTask", "MCLDTask"])
def test_help_shows_every_field_with_its_words(task, capsys):
    with pytest.raises(SystemExit):
        main(["fit", f"--model.help={task}"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--model.sampling.guidance_scale GUIDANCE_SCALE Weight of classifier-free guidance" in said
    assert "--model.dropping.whole_batch {true,false} Drop a condition for the whole batch" in said
    assert "--model.step.noise_offset NOISE_OFFSET Standard deviation of the offset" in said
    assert "--model.schedule.decay_factor DECAY_FACTOR See ``decay_epochs``." in said


@pytest.mark.parametrize("task", [FPDMTask, MCLDTask])
def test_a_constructor_has_less_than_sixteen_arguments(task):
    import inspect

    assert len(inspect.signature(task).parameters) < 16


def test_another_methods_denoiser_may_be_any_module():
    task = tiny_fpdm_task()
    task.save_memory_or_time(FPDMStep(gradient_checkpointing=True))
    task.save_memory_or_time(FPDMStep())
    assert not task.unet.is_gradient_checkpointing, "recomputing stays on"
    task.unet = torch.nn.Linear(1, 1)  # not of diffusers
    task.save_memory_or_time(FPDMStep())

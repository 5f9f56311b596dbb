"""MCLD's training step against the official one: the task itself, fed with the recorded pictures and draws."""

import pytest
import torch
from official_mcld import load_official_mcld, load_official_pipeline
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from parity_files import TOLERANCES, enlarged, signed, with_number
from pgpis.methods.mcld import MCLDTask
from pgpis.methods.mcld.losses import face_region, focal_loss, min_snr_weights
from pgpis.methods.mcld.options import MCLDSampling
from pgpis.methods.mcld.task import NOISE, read_clip_std

pytestmark = pytest.mark.parity

BRANCHES = ("cond", "clipzero", "uncond")


@pytest.fixture(scope="module")
def official(parity_root):
    return load_official_mcld(parity_root)


@pytest.fixture(scope="module")
def task(parity_root, official, tmp_path_factory):
    """The task on the official tiny weights."""
    folder = tmp_path_factory.mktemp("official") / "pipeline"
    load_official_pipeline(parity_root, {key: value for key, value in NOISE.items() if key != "_class_name"}
                           | {"beta_start": 0.00085, "beta_end": 0.012}).save_pretrained(folder)  # fmt: skip
    height, width = enlarged(official.train, "img_u8").shape[1:3]
    return MCLDTask(MCLDSampling(height, width), pipeline=str(folder))


def clip_picture(tensors, name):
    """The recorded pictures are already normalised for CLIP, one value per patch."""
    normalised, patch = with_number(tensors, f"{name}_div#")
    large = normalised.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return (large * deviation + mean) * 2 - 1


@pytest.fixture(scope="module")
def batch(official):
    train = official.train
    return {
        "target_image": signed(enlarged(train, "img_u8")),
        "texture_image": signed(enlarged(train, "ref_u8")),
        "pose_image": signed(enlarged(train, "tgt_pose_u8")),
        "source_clip": clip_picture(train, "clip_images"),
        "texture_clip": clip_picture(train, "clip_images2"),
        "face": train["face_emb"][:, 0].float(),
    }


def test_schedule_weights_and_velocity(official, task):
    train, alphas = official.train, task.noise_schedule.alphas_cumprod
    torch.testing.assert_close(alphas, official.io["alphas_cumprod_train"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(min_snr_weights(alphas, train["table_t"]), train["table_weight"], atol=1e-6, rtol=1e-5)
    assert min_snr_weights(alphas, torch.tensor([len(alphas) - 1]))[0] == 1  # zero terminal SNR


@pytest.mark.parametrize("branch", BRANCHES)
def test_face_region_and_weighted_loss(official, task, batch, branch):
    train = official.train
    face = face_region(batch["pose_image"], *train[f"{branch}.face_mask"].shape[-2:])
    torch.testing.assert_close(face, train[f"{branch}.face_mask"].float())
    if branch == "cond":
        weights = min_snr_weights(task.noise_schedule.alphas_cumprod, train["cond.timesteps"])
        loss = focal_loss(train["cond.model_pred"][:, :, 0], train["cond.target"][:, :, 0], weights, face)
        assert float(loss) == pytest.approx(official.meta["scalars"]["train_cond"]["loss"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("branch", BRANCHES)
def test_the_whole_step(official, task, batch, branch, monkeypatch):
    """From pictures to the loss, with every draw replaced by the recorded one."""

    def of(name):
        return official.train[f"{branch}.{name}"]

    count = len(of("timesteps"))
    draws = iter([of("clip_noise")[:, 0] / (task.step.clip_noise * official.train["clip_std_used"])])
    if branch == "cond":
        draws = iter([of("vae_eps_img"), of("vae_eps_ref"), *draws])
    else:
        latents = iter([of("latents")[:, :, 0], of("ref_image_latents")])
        monkeypatch.setattr(task, "latents", lambda *_: next(latents))
    keeps = iter([torch.full((count,), branch != "uncond"), torch.full((count,), branch == "cond")])
    monkeypatch.setattr("torch.randn", lambda shape, **__: next(draws).reshape(shape))
    monkeypatch.setattr("pgpis.tasks.options.keep_mask", lambda *_, **__: next(keeps))
    monkeypatch.setattr("pgpis.tasks.diffusion.offset_noise", lambda *_: of("noise")[:, :, 0])
    monkeypatch.setattr("pgpis.tasks.diffusion.sample_timesteps", lambda *_: of("timesteps"))
    plain = type(task.reference_net).bank
    monkeypatch.setattr(  # the official bank is rounded
        type(task.reference_net),
        "bank",
        lambda self, *args: {k: v.half().float() for k, v in plain(self, *args).items()},
    )
    task.clip_std.copy_(official.train["clip_std_used"])
    loss = task.loss(batch, torch.Generator(), train=True)["loss"]
    weights, face = of("mse_loss_weights"), of("face_mask").float()
    target = official.train["cond.target"] if branch == "cond" else None
    if target is None:
        alphas = official.io["alphas_cumprod_train"][of("timesteps")].view(-1, 1, 1, 1, 1)
        target = alphas.sqrt() * of("noise") - (1 - alphas).sqrt() * of("latents")
    expected = focal_loss(of("model_pred")[:, :, 0], target[:, :, 0], weights, face)
    assert float(loss) == pytest.approx(float(expected), rel=TOLERANCES["mcld"])


def test_official_statistics_of_clip_are_read(samples_root):
    assert read_clip_std(str(samples_root / "clip_std.npy"), 768).mean() == pytest.approx(0.3588, abs=1e-3)


def test_last_block_of_the_reference_is_frozen(official, task):
    frozen = {name for name, parameter in task.reference_net.named_parameters() if not parameter.requires_grad}
    last = f"up_blocks.{len(official.meta['reference_config']['up_block_types']) - 1}."
    assert frozen == {name for name, _ in task.reference_net.named_parameters() if name.startswith(last)}
    assert set(official.meta["scalars"]["train_cond"]["reference_params_without_grad"]) >= frozen

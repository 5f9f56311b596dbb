"""MCLD from the command line, on real classes at tiny size."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image

from pgpis.cli import main
from pgpis.denoiser import build_unet
from pgpis.errors import PgpisError
from pgpis.methods.mcld import MCLDPipeline, MCLDTask
from pgpis.methods.mcld.conditioner import MCLDConditioner
from pgpis.methods.mcld.options import MCLDPorts, MCLDSampling
from pgpis.methods.mcld.reference import build_reference_net
from pgpis.models import build_vae, build_vision_encoder
from pgpis.models.loading import take_over
from pgpis.models.pose import PoseEncoder
from tiny_fpdm import CLIP, UNET, VAE

EVERY_STEP = "--trainer.callbacks=[{class_path: ModelCheckpoint, init_args: {every_n_train_steps: 1, save_last: true}}]"


def weights(folder, name="last.ckpt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def pixels(path):
    with Image.open(path) as picture:
        return picture.tobytes()


@pytest.mark.slow
def test_fit_test_predict_and_edit(trained_mcld, tiny_mcld_words, textured_root, tmp_path):
    pipeline = shutil.copytree(trained_mcld / "pipeline", tmp_path / "pipeline")
    assert json.loads((pipeline / "conditioner/config.json").read_text())["iuv_filter"] == "nearest"
    use = f"--model.init_args.pipeline={pipeline}"
    assert main(tiny_mcld_words("test", use, "--model.init_args.sampling.output_size=[80,56]", out="scored")) == 0
    table = json.loads((tmp_path / "scored/test/metrics.json").read_text())
    assert table["samples"] == 6
    assert table["size"] == {"height": 80, "width": 56}
    names = sorted(path.stem for path in textured_root.glob("test_face/*.npy"))
    other = min(path.stem for path in textured_root.glob("train_face/*.npy"))  # of another person
    for ending in ("", "_texture", "_face"):
        (tmp_path / f"photos{ending}").mkdir()
    for split, name in (*(("test", name) for name in names), ("train", other)):
        for ending, suffix in (("", ".jpg"), ("_texture", ".png"), ("_face", ".npy")):
            path = textured_root / f"{split}{ending}/{name}{suffix}"
            (tmp_path / f"photos{ending}/{name}{suffix}").write_bytes(path.read_bytes())
    whole = MCLDPipeline.from_pretrained(pipeline)
    for module in (whole.unet, whole.conditioner, whole.reference_net):
        for parameter in module.parameters():  # after one step, what starts at zero hides what is fed to it
            if parameter.detach().abs().max() < 0.05:
                torch.nn.init.normal_(parameter, std=0.1)
    whole.save_pretrained(pipeline)
    words = ["predict", "--config=smoke/mcld.yaml"]
    pose = min((textured_root / "test_densepose").iterdir())
    words += [f"--pipeline={pipeline}", f"--sources={tmp_path}/photos", f"--poses={pose}"]
    words += ["--model.init_args.sampling.height=64", "--model.init_args.sampling.width=56", "--steps=2"]
    assert main([*words, f"--out={tmp_path}/plain"]) == 0
    plain = {path.name: pixels(path) for path in (tmp_path / "plain").glob("*_2_*.png")}
    assert len(plain) == len(names) + 1
    edit = ["--identity", f"{other}.jpg", "--clothes", f"upper={other}.jpg"]
    assert main([*words, *edit, f"--out={tmp_path}/edited"]) == 0
    edited = {path.name.split("_identity-")[0] + ".png": path for path in (tmp_path / "edited").glob("*_2_*.png")}
    assert edited.keys() == plain.keys()
    assert {name for name, path in edited.items() if pixels(path) == plain[name]} == {
        name for name in plain if name.startswith(f"{other}_2_")
    }


@pytest.mark.slow
def test_resumed_run_equals_the_uninterrupted_one(tiny_mcld_words, tmp_path):
    """It stops within an epoch, after one step, and in the second epoch, after three."""
    words = ["--trainer.limit_train_batches=2", EVERY_STEP]
    assert main(tiny_mcld_words("fit", *words, "--trainer.max_steps=4", out="whole")) == 0
    assert main(tiny_mcld_words("fit", *words, "--trainer.max_steps=1", out="parts")) == 0
    stopped = weights(tmp_path / "parts")
    for steps in (3, 4):
        again = [f"--trainer.max_steps={steps}", "--ckpt_path=last"]
        assert main(tiny_mcld_words("fit", *words, *again, out="parts")) == 0
        assert weights(tmp_path / "parts")["global_step"] == steps
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole["state_dict"].keys() == parts["state_dict"].keys()
    assert all(torch.equal(value, parts["state_dict"][key]) for key, value in whole["state_dict"].items())
    assert torch.equal(stopped["state_dict"]["clip_std"], parts["state_dict"]["clip_std"])
    assert not torch.isnan(parts["state_dict"]["clip_std"]).any()
    assert set(whole["frozen"]) == {"vae", "image_encoder", "reference_net.up_blocks.1"}


@pytest.mark.slow
def test_two_processes_train(tiny_mcld_words, tmp_path, two_processes):
    """No parameter is unused in any step: DDP would wait for its gradient."""
    dropping = ["--model.init_args.dropping.all=0.5", "--model.init_args.dropping.whole_batch=true"]
    dropping.append("--model.init_args.step.flow_loss.from_step=1")
    words = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_steps=2", "--data.val=null", *dropping]
    assert two_processes(main, tiny_mcld_words("fit", *words)) == [0, 0], two_processes.said()
    assert weights(tmp_path / "run")["global_step"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "unread"),
    [
        (["use_face=false"], {"face"}),
        (["use_texture=false"], {"texture_image", "texture_clip"}),
        (["aggregation=all"], set()),
        (["aggregation=ip"], set()),
        (["correspondence=8"], set()),
    ],
)
def test_ablations_train_and_export(options, unread, tiny_mcld_words, tmp_path):
    words = [f"--model.init_args.conditioner.{option}" for option in options]
    assert main(tiny_mcld_words("fit", *words, "--trainer.max_steps=2", "--data.val=null")) == 0
    use = [f"--model.init_args.pipeline={tmp_path}/run/pipeline", "--trainer.limit_test_batches=1"]
    assert main(tiny_mcld_words("test", *use, out="scored")) == 0
    task = MCLDTask(MCLDSampling(64, 56), pipeline=str(tmp_path / "run/pipeline"))
    everything = {"source_image", "source_clip", "texture_image", "texture_clip", "pose_image", "target_image", "face"}
    assert set(task.input_specs) == everything - unread
    assert (task.reference_net is None) == ("use_texture=false" in options)
    assert task.conditioner.config.correspondence == (8 if "correspondence=8" in options else 0)


@pytest.mark.slow
def test_training_starts_from_a_smaller_model(tiny_mcld_words, tmp_path, capsys):
    """What fits is taken over, what is new starts as ever, and a model of which nothing fits is refused."""
    fewer = "--model.init_args.unet.down_block_types=[DownBlock2D,DownBlock2D]"
    one_step = ("--trainer.max_steps=1", "--data.val=null")
    assert main(tiny_mcld_words("fit", fewer, *one_step, out="base")) == 0
    still = (
        *one_step,
        "--model.init_args.optimizer.init_args.lr=0",
        "--model.init_args.conditioner.correspondence=8",
    )
    start = f"--model.init_args.start_from={tmp_path}/base/pipeline"
    assert main(tiny_mcld_words("fit", start, *still)) == 0
    base, own = (MCLDPipeline.from_pretrained(tmp_path / folder / "pipeline") for folder in ("base", "run"))
    for part in ("unet", "reference_net", "conditioner"):
        given, found = getattr(base, part).state_dict(), getattr(own, part).state_dict()
        assert all(torch.equal(found[name], value) for name, value in given.items()), part
        assert (len(found) > len(given)) == (part != "conditioner")
    assert own.conditioner.config.correspondence == 8
    other = MCLDConditioner(token_dim=8, pose_hidden_channels=(2, 2), pose_channels=2, use_face=False)
    with pytest.raises(PgpisError, match="start_from: no weight of its conditioner fits"):
        take_over("conditioner", other, base.conditioner)
    assert main(tiny_mcld_words("fit", f"--model.init_args.start_from={tmp_path}/nowhere")) == 2
    assert f"start_from: cannot load '{tmp_path}/nowhere'" in capsys.readouterr().err


def test_a_stock_stable_diffusion_is_the_start(tmp_path):
    """Face weights start as copies; the ReferenceNet leaves its tail out; anything else is refused."""
    torch.manual_seed(0)
    stock = UNet2DConditionModel(**UNET)
    stock.save_pretrained(tmp_path / "sd/unet")
    build_vae(VAE).save_pretrained(tmp_path / "sd/vae")
    build_vision_encoder(CLIP).save_pretrained(tmp_path / "clip")
    reference = build_reference_net(str(tmp_path / "sd"))
    unet = build_unet(str(tmp_path / "sd"), fusion=False, extra_tokens=True)
    layer = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    assert torch.equal(layer.processor.to_k_ip.weight, layer.to_k.weight)
    assert torch.equal(unet.conv_in.weight, stock.conv_in.weight)
    assert torch.equal(reference.conv_in.weight, stock.conv_in.weight)
    assert len(reference.state_dict()) < len(stock.state_dict())
    with torch.no_grad():
        layer.processor.to_k_ip.weight.mul_(2)
    unet.save_pretrained(tmp_path / "own")
    again = build_unet(str(tmp_path / "own"), fusion=False, extra_tokens=True)
    assert torch.equal(
        again.down_blocks[0].attentions[0].transformer_blocks[0].attn2.processor.to_k_ip.weight,
        layer.processor.to_k_ip.weight,
    )
    task = MCLDTask(
        base=str(tmp_path / "sd"), image_encoder=str(tmp_path / "clip"),
        conditioner=MCLDPorts(pose_hidden_channels=(8, 8), resampler_dim=8, resampler_heads=1, resampler_head_dim=8,
                              resampler_depth=1),
    )  # fmt: skip
    assert task.noise_schedule.alphas_cumprod[-1] == 0


def test_the_pose_encoder_starts_from_a_controlnet(tmp_path):
    controlnet = ControlNetModel(
        block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=12, attention_head_dim=2,
        down_block_types=("DownBlock2D", "DownBlock2D"), conditioning_embedding_out_channels=(4, 8),
    )  # fmt: skip
    controlnet.save_pretrained(tmp_path)
    encoder = PoseEncoder(8, (4, 8))
    encoder.start_from_controlnet(str(tmp_path))
    stock = controlnet.controlnet_cond_embedding.state_dict()
    own = encoder.state_dict()
    assert all(torch.equal(own[name], stock[name]) for name in own if not name.startswith("conv_out."))
    assert not own["conv_out.weight"].any()
    with pytest.raises(PgpisError, match="pose_encoder"):
        PoseEncoder(8, (4, 16)).start_from_controlnet(str(tmp_path))


@pytest.mark.slow
def test_given_statistics_are_used(tiny_mcld_words, tmp_path, capsys):
    np.save(tmp_path / "std.npy", np.full(16, 0.25, np.float32))
    option = f"--model.init_args.step.clip_std={tmp_path}/std.npy"
    assert main(tiny_mcld_words("fit", option, "--trainer.max_steps=1", "--data.val=null")) == 0
    assert (weights(tmp_path / "run")["state_dict"]["clip_std"] == 0.25).all()
    np.save(tmp_path / "std.npy", np.full(8, 0.25, np.float32))
    assert main(tiny_mcld_words("fit", option)) == 2
    assert "expected (16,)" in capsys.readouterr().err


def test_wrong_choices_are_named(tiny_mcld_words, capsys):
    assert main(tiny_mcld_words("fit", "--model.init_args.conditioner.aggregation=stages")) == 2
    assert "stages" in capsys.readouterr().err
    assert main(tiny_mcld_words("fit", "--model.init_args.conditioner.correspondence=-1")) == 2
    assert "correspondence is -1.0, expected a number of at least 0" in capsys.readouterr().err


def test_sampling_may_use_other_betas(tiny_mcld_words, tmp_path):
    """The released test samples with linear betas from a net trained with scaled ones."""
    linear = "--model.init_args.sampling.scheduler={beta_schedule: linear, steps_offset: 1}"
    assert main(tiny_mcld_words("fit", linear, "--trainer.max_steps=1", "--data.val=null")) == 0
    pipeline = MCLDPipeline.from_pretrained(tmp_path / "run/pipeline")
    assert pipeline.scheduler.config.beta_schedule == "linear"
    task = MCLDTask(MCLDSampling(64, 56), pipeline=str(tmp_path / "run/pipeline"))
    assert task.noise_schedule.config.beta_schedule == "scaled_linear"
    assert task.scheduler.config.beta_schedule == "linear"

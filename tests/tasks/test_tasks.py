"""What tasks do around the models: seeds, frozen parts, learning rate, ablations."""

import json
from types import MappingProxyType

import pytest
import torch
from torch import nn

from pgpis.batch import ImageSpec, check_batch
from pgpis.cli import main
from pgpis.errors import PgpisError
from pgpis.methods.fpdm import FPDMTask, FusionPriorTask
from pgpis.methods.fpdm.options import FPDMSampling
from pgpis.models.weights import weights_hash
from pgpis.pictures.iuv import PART_CHANNEL, PARTS
from pgpis.speed.batches import random_batch
from pgpis.tasks import AutoencoderTask, LifterTask
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.diffusion import DiffusionTask
from pgpis.tasks.options import Schedule
from pgpis.tasks.seeds import stable_seed
from tiny_fpdm import VAE, tiny_pipeline


class Task(PersonImageTask):
    """The smallest task: one frozen and one trained layer."""

    input_specs = MappingProxyType({})

    def __init__(self, *schedule):
        super().__init__(lambda parameters: torch.optim.SGD(parameters, lr=1.0), *schedule)
        self.encoder = nn.Linear(2, 2)
        self.head = nn.Linear(2, 1)
        self.freeze("encoder")

    def loss(self, batch, generator, *, train):
        raise AssertionError("not called")

    def exported(self):
        raise AssertionError("not called")


def test_frozen_parts_stay_out_of_state_mode_and_gradients():
    task = Task()
    task.train()
    assert task.training
    assert task.head.training
    assert not task.encoder.training
    assert {name for name, parameter in task.named_parameters() if parameter.requires_grad} == {
        "head.weight",
        "head.bias",
    }
    assert set(task.state_dict()) == {"head.weight", "head.bias"}


def test_trained_weights_load_strictly_without_the_frozen_ones():
    source, target = Task(), Task()
    frozen = target.encoder.weight.clone()
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.head.weight, source.head.weight)
    assert torch.equal(target.encoder.weight, frozen)
    with pytest.raises(RuntimeError, match=r"head\.bias"):
        target.load_state_dict({"head.weight": source.head.weight})


@pytest.mark.parametrize("part", ["pipeline", "module"])
def test_weights_that_are_not_finite_are_not_exported(part, tmp_path, monkeypatch):
    """Also outside of Lightning's trainer, whatever the task."""
    model = tiny_pipeline() if part == "pipeline" else tiny_pipeline().unet
    monkeypatch.setattr(Task, "exported", lambda _: ("model", model))
    task = Task()
    task.export(str(tmp_path))
    with torch.no_grad():
        (model.unet if part == "pipeline" else model).conv_in.weight[0] = torch.nan
    with pytest.raises(PgpisError, match=r"model.*'conv_in.weight' holds numbers that are not finite"):
        task.export(str(tmp_path / "bad"))
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "make",
    [lambda: AutoencoderTask(VAE, 24, 20, latent_noise=0.4), lambda: LifterTask((8, 8), 8, 64, 48)],
    ids=["autoencoder", "lifter"],
)
def test_half_precision_trains_and_draws(make, dtype):
    torch.manual_seed(0)
    task = make().train()
    losses = []
    for precision in (torch.float32, dtype):
        task.to(precision)
        batch = random_batch(task.loss_specs, 2, torch.device("cpu"))
        loss = task.loss(batch, torch.Generator().manual_seed(0), train=True)["loss"]
        loss.backward()
        assert all(parameter.grad.isfinite().all() for parameter in task.parameters())
        assert task.sample_grid(batch, 1).isfinite().all()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_random_maps_have_parts_that_there_are():
    specs = {"pose_image": ImageSpec("iuv", 40, 40), "source_image": ImageSpec("source", 8, 8)}
    batch = random_batch(specs, 2, torch.device("cpu"))
    parts = (batch["pose_image"][:, PART_CHANNEL] / 2 + 0.5) * 255
    assert parts.round().unique().tolist() == list(range(PARTS + 1))
    torch.testing.assert_close(parts, parts.round(), atol=1e-3, rtol=0)
    check_batch(batch, specs)


def test_seed_depends_on_every_part_and_nothing_else():
    seeds = {stable_seed(*parts) for parts in ((0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a1", ""))}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert stable_seed(0, "a", 1) == 6421629770881614306


def test_hash_sees_values_names_and_shapes():
    layer = nn.Linear(2, 2)
    before = weights_hash(layer)
    assert before == weights_hash(layer)
    with torch.no_grad():
        layer.bias[0] += 1e-3
    assert weights_hash(layer) != before


def factors(task, steps, batches=10, accumulation=1):
    class Data:
        def batches_per_epoch(self):
            return batches

    class Trainer:
        global_step = 0
        limit_train_batches = 1.0
        accumulate_grad_batches = accumulation

    task._trainer, task.data = Trainer(), Data()
    schedule = task.configure_optimizers()["lr_scheduler"]["scheduler"]
    return [schedule.lr_lambdas[0](step) for step in steps]


def test_learning_rate_warms_up_and_decays():
    task = Task(Schedule(warmup_epochs=2, decay_epochs=(3, 4), decay_factor=0.1))
    assert factors(task, [0, 9, 19, 25, 30, 45]) == pytest.approx([0.05, 0.5, 1.0, 1.0, 0.1, 0.01])
    assert factors(task, [0, 4, 9], accumulation=2) == pytest.approx([0.1, 0.5, 1.0])


def test_the_schedule_counts_batches_of_the_size_that_a_callback_found():
    task = Task(Schedule(warmup_epochs=2))
    assert factors(task, [9], batches=10) == [0.5]
    schedule = task.configure_optimizers()["lr_scheduler"]["scheduler"]
    task.data.batches_per_epoch = lambda: 5
    task.on_train_start()
    assert schedule.lr_lambdas[0](4) == 0.5


def tiny_clip(image_size=32):
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "projection_dim": 16,
        "image_size": image_size,
        "patch_size": 14,
    }
    return {"model_type": "clip_vision_model", "num_hidden_layers": 1, "num_attention_heads": 2, **sizes}


NO_PRIOR = "--model.init_args.fusion_embedder=null"
ABLATIONS = {
    "b1": [f"--model.init_args.source_encoder={json.dumps(tiny_clip(28))}", NO_PRIOR],
    "b2": ["--model.init_args.conditioner.source_size=14", NO_PRIOR],
    "b3": [NO_PRIOR],
    "b4": [f"--model.init_args.fusion_embedder={json.dumps({'encoder': tiny_clip(), 'combiner': False})}"],
    "whole batch": ["--model.init_args.dropping.whole_batch=true"],
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation_of_the_diffusion_model_trains(name, tiny, tmp_path):
    assert main(tiny("fit", *ABLATIONS[name], "--trainer.max_steps=1", "--data.val=null")) == 0
    index = json.loads((tmp_path / "run/pipeline/model_index.json").read_text())
    assert (index["fusion_embedder"][0] is None) == (NO_PRIOR in ABLATIONS[name])


TINY_CLIP = f"--model.init_args.encoder={json.dumps(tiny_clip())}"


@pytest.mark.parametrize("source_enhanced", ["true", "false"])
def test_prior_is_trained_exported_and_measured(source_enhanced, toy_root, tmp_path):
    roots = [f"--data.{split}.init_args.root={toy_root}" for split in ("train", "val", "test")]
    words = ["--config=smoke/fusion.yaml", TINY_CLIP, f"--model.init_args.source_enhanced={source_enhanced}", *roots]
    words += [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=2", "--trainer.limit_train_batches=2"]
    assert main(["fit", *words]) == 0
    assert (tmp_path / "fusion_embedder/config.json").is_file()
    assert main(["test", *words, "--ckpt_path=last"]) == 0
    report = json.loads((tmp_path / "test/metrics.json").read_text())
    assert set(report["results"]) == {"recall_at_1", "recall_at_3", "recall_at_5", "average_rank"}
    assert report["samples"] == len(json.loads((toy_root / "test_pairs_data.json").read_text()))


def test_a_prior_that_is_trained_on_is_in_training_mode(toy_root, tmp_path, monkeypatch):
    FusionPriorTask(fusion_embedder={"encoder": tiny_clip()}).fusion_embedder.save_pretrained(tmp_path / "start")
    modes, loss = [], FusionPriorTask.loss

    def noted(task, *args, train):
        modes.append((train, task.fusion_embedder.fusion_head.dropout.training))
        return loss(task, *args, train=train)

    monkeypatch.setattr(FusionPriorTask, "loss", noted)
    words = ["--config=smoke/fusion.yaml", f"--model.init_args.fusion_embedder={tmp_path}/start"]
    words += [f"--data.{split}.init_args.root={toy_root}" for split in ("train", "val")]
    words += [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=1", "--trainer.val_check_interval=1"]
    assert main(["fit", *words]) == 0
    assert set(modes) == {(True, True), (False, False)}


def test_a1_is_measured_but_not_trained(toy_root, tmp_path, capsys):
    roots = [f"--data.{split}.init_args.root={toy_root}" for split in ("train", "val", "test")]
    words = ["--config=smoke/fusion.yaml", TINY_CLIP, "--config=ablation/a1.yaml", *roots]
    words += [f"--trainer.default_root_dir={tmp_path}"]
    assert main(["test", *words]) == 0
    assert json.loads((tmp_path / "test/metrics.json").read_text())["results"]["average_rank"] >= 1
    assert main(["fit", *words]) == 2
    assert "nothing to train" in capsys.readouterr().err


def test_a1_of_a_given_prior_is_its_encoder_alone(tmp_path):
    """Whether the encoder is given as ``encoder`` or inside ``fusion_embedder``; a trained prior is no A1."""
    given = FusionPriorTask(fusion_embedder={"encoder": tiny_clip(), "fit": "squash"}, combiner=False)
    assert given.fusion_embedder.fusion_head is None
    assert given.fusion_embedder.config.fit == "squash"
    assert FusionPriorTask(fusion_embedder={"encoder": tiny_clip()}).fusion_embedder.fusion_head is not None
    with pytest.raises(PgpisError, match="combiner: false measures an encoder as it is"):
        FusionPriorTask(fusion_embedder=str(tmp_path), combiner=False)


def test_a_task_without_data_draws_poses_as_its_pipeline_did(tmp_path):
    pipeline = tiny_pipeline()
    pipeline.register_to_config(pose_canvas=[64, 44], stick_width=3, pose_skeleton="wholebody133")
    pipeline.save_pretrained(tmp_path / "pipeline")
    task = FPDMTask(FPDMSampling(64, 56), pipeline=str(tmp_path / "pipeline"))
    task.export(str(tmp_path / "out"))
    index = json.loads((tmp_path / "out/pipeline/model_index.json").read_text())
    assert (index["pose_canvas"], index["stick_width"]) == ([64, 44], 3)
    assert index["pose_skeleton"] == "wholebody133"


@pytest.mark.parametrize("method", ["fpdm", "mcld"])
def test_what_goes_on_from_a_pipeline_is_in_training_mode(method, request, monkeypatch):
    """Weights that were loaded come in evaluation mode, in which nothing drops out."""
    trained = request.getfixturevalue(f"trained_{method}")
    words = request.getfixturevalue("tiny" if method == "fpdm" else "tiny_mcld_words")
    modes = []
    loss = DiffusionTask.loss

    def noted(task, *args, train):
        if train:
            modes.append({module.training for name, module in task.named_children() if name in task.frozen})
            modes.append({module.training for module in (task.unet, *task.conditioner.modules())})
        return loss(task, *args, train=train)

    monkeypatch.setattr(DiffusionTask, "loss", noted)
    use = f"--model.init_args.pipeline={trained}/pipeline"
    assert main(words("fit", use, "--trainer.max_steps=1", "--trainer.limit_val_batches=1", out="more")) == 0
    assert modes == [{False}, {True}]


def test_source_size_overrides_a_pipeline(trained_fpdm, tiny, tmp_path):
    pipeline = f"--model.init_args.pipeline={trained_fpdm}/pipeline"
    words = ["--model.init_args.conditioner.source_size=14", "--trainer.max_steps=1", "--data.val=null"]
    assert main(tiny("fit", pipeline, *words, out="small")) == 0
    config = json.loads((tmp_path / "small/pipeline/conditioner/config.json").read_text())
    assert config["source_size"] == 14

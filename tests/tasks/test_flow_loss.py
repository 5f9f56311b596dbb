"""The loss on where the attention looks, in both tasks: what it adds, which pairs count, what is refused, its grid."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from pgpis.batch import VectorSpec
from pgpis.cli import main
from pgpis.data import FolderPairs, PoseTransferDataModule
from pgpis.errors import PgpisError
from pgpis.methods.fpdm.options import FPDMDropping, FPDMStep
from pgpis.methods.mcld.options import MCLDDropping, MCLDPorts, MCLDSampling, MCLDStep
from pgpis.methods.mcld.task import MCLDTask
from pgpis.tasks.options import FlowLoss
from tiny_fpdm import CLIP, HEIGHT, UNET, VAE, WIDTH, randomize
from tiny_tasks import tiny_fpdm_task, tiny_mcld_task

ALL = FlowLoss(weight=0.5, below=1000)
METHODS = {
    "fpdm": (tiny_fpdm_task, FPDMStep, FPDMDropping, {"source": 1.0}),
    "mcld": (tiny_mcld_task, MCLDStep, MCLDDropping, {"all": 1.0}),
}


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


@pytest.fixture(autouse=True)
def _estimated(monkeypatch):
    """Training begins with an estimate of CLIP's deviation, without which nothing is a number."""
    monkeypatch.setattr("pgpis.methods.mcld.task.read_clip_std", lambda _, size: torch.ones(size))


def random_batch(task, pairs=3):
    generator, batch = torch.Generator().manual_seed(0), {"index": torch.arange(pairs)}
    for key, spec in task.input_specs.items():
        shape = (spec.size,) if isinstance(spec, VectorSpec) else (3, spec.height, spec.width)
        batch[key] = torch.rand(pairs, *shape, generator=generator) * 2 - 1
    if "texture_image" in batch:
        batch["pose_image"][:, 2] = torch.randint(0, 25, (pairs, HEIGHT, WIDTH), generator=generator) / 127.5 - 1
    return batch


def losses(task, *, train=True):
    """Of the same draws each time."""
    torch.manual_seed(0)
    return task.train().loss(random_batch(task), torch.Generator().manual_seed(1), train=train)


def test_it_is_added_to_what_the_loss_was(method):
    make, step, *_ = method
    plain = losses(make())
    assert plain.keys() == {"loss"}
    found = losses(make(step=step(flow_loss=ALL)))
    assert found["flow"] > 0.01
    torch.testing.assert_close(found["loss"], plain["loss"] + 0.5 * found["flow"])


def test_pairs_with_more_noise_or_without_the_reference_add_nothing(method):
    make, step, dropping, all_dropped = method
    assert losses(make(step=step(flow_loss=FlowLoss(below=1))))["flow"] == 0
    assert losses(make(step=step(flow_loss=ALL), dropping=dropping(**all_dropped)))["flow"] == 0


def test_it_begins_at_its_step_and_not_in_validation(method):
    make, step, *_ = method
    plain = make()
    for options, train in ((FlowLoss(below=1000, from_step=1), True), (ALL, False)):
        task = make(step=step(flow_loss=options))
        task._trainer = SimpleNamespace(global_step=0)
        found = losses(task, train=train)
        assert found.keys() == {"loss"}
        assert torch.equal(found["loss"], losses(plain, train=train)["loss"])


def test_it_counts_from_the_first_step_where_no_trainer_counts_steps(method):
    make, step, *_ = method
    assert "flow" in losses(make(step=step(flow_loss=FlowLoss(below=1000, from_step=1))))


def test_it_teaches_queries_and_keys_alone(method):
    """Its gradient reaches what they are made of, through the ReferenceNet too, and is the same with less memory."""
    make, step, *_ = method
    task = make(step=step(flow_loss=ALL))
    gradients = []
    for saves_memory in (False, True):
        own = copy.deepcopy(task)
        randomize(own.unet)
        own.save_memory_or_time(step(gradient_checkpointing=saves_memory))
        losses(own)["flow"].backward()
        gradients.append({name: p.grad for name, p in own.named_parameters() if p.grad is not None})
    reading = "attn1" if make is tiny_mcld_task else "attn2"
    for gradient in gradients:
        assert gradient[f"unet.down_blocks.0.attentions.0.transformer_blocks.0.{reading}.to_q.weight"].any()
        assert gradient[f"unet.down_blocks.0.attentions.0.transformer_blocks.0.{reading}.to_k.weight"].any()
        assert any(name.startswith(("reference_net.", "conditioner.source_projection.")) for name in gradient)
        assert "unet.conv_out.weight" not in gradient
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-3)


def test_the_grid_shows_reference_target_and_for_each_size_what_is_fetched(method):
    make, step, *_ = method
    task = make(step=step(flow_loss=ALL)).eval()
    batch = random_batch(task)
    grid = task.flow_grid(batch, rows=2)
    assert grid.shape == (3, 2 * HEIGHT, 6 * WIDTH)  # attention at two sizes
    assert torch.equal(grid[:, :HEIGHT, WIDTH : 2 * WIDTH], batch["target_image"][0])
    assert grid.min() >= -1
    assert grid.max() <= 1
    assert torch.equal(grid, task.flow_grid(batch, rows=2))
    assert make().flow_grid(batch, rows=2) is None


def test_what_cannot_be_is_refused():
    with pytest.raises(PgpisError, match=r"step\.flow_loss looks into the denoiser's layers"):
        FPDMStep(compile_unet=True, flow_loss=FlowLoss())
    ports = MCLDPorts(None, (4, 8), 16, 1, 2, 8, 4, use_texture=False)
    with pytest.raises(PgpisError, match=r"step\.flow_loss needs a denoiser that attends to a picture"):
        MCLDTask(
            MCLDSampling(HEIGHT, WIDTH), unet=UNET, vae=VAE, image_encoder=CLIP, conditioner=ports,
            step=MCLDStep(flow_loss=FlowLoss()),
        )  # fmt: skip
    for name, value in {"weight": -1, "temperature": 0, "below": 0, "from_step": 0.5}.items():
        with pytest.raises(PgpisError, match=rf"step\.flow_loss\.{name} is {value}"):
            FlowLoss(**{name: value})


EVERY_STEP = "{class_path: ModelCheckpoint, init_args: {every_n_train_steps: 1, save_last: true}}"
FLOW = "--model.init_args.step.flow_loss"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fpdm", "mcld"])
def test_a_run_logs_it_and_a_resumed_one_repeats_it(model, tiny, tiny_mcld_words, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    make = tiny if model == "fpdm" else tiny_mcld_words
    words = [f"{FLOW}.from_step=1", f"{FLOW}.below=1000", "--trainer.limit_train_batches=2"]
    words += [f"--trainer.callbacks=[{EVERY_STEP}, {{class_path: SampleGrid}}]", "--trainer.log_every_n_steps=1"]
    assert main(make("fit", *words, "--trainer.max_steps=3", out="whole")) == 0
    log = EventAccumulator(str(next((tmp_path / "whole/lightning_logs").iterdir())))
    log.Reload()
    assert [event.step for event in log.Scalars("train/flow")] == [1, 2]
    assert {"samples", "flow"} <= set(log.Tags()["images"])
    assert main(make("fit", *words, "--trainer.max_steps=1", out="parts")) == 0
    assert main(make("fit", *words, "--trainer.max_steps=3", "--ckpt_path=last", out="parts")) == 0
    whole, parts = (
        torch.load(tmp_path / folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for folder in ("whole", "parts")
    )
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_several_sources_are_one_texture_and_many_tokens():
    """MCLD's texture is merged; FPDM's tokens of several pictures are no grid."""
    task = tiny_fpdm_task(step=FPDMStep(flow_loss=ALL)).train()
    batch = random_batch(task) | {"source_count": torch.tensor([1, 2, 1])}
    batch["further_source_image"] = batch["source_image"][:, None]
    with pytest.raises(PgpisError, match="most_sources"):
        task.loss(batch, torch.Generator().manual_seed(1), train=True)


@pytest.mark.parametrize("split", ["train", "val"])
def test_several_sources_are_refused_before_the_first_batch(tiny, toy_root, split, capsys):
    several = f"--data.{split}.init_args.most_sources=2"
    assert main(tiny("fit", f"{FLOW}.from_step=3", "--trainer.max_steps=1", several)) == 2
    assert f"one source of a pair, and data.{split} has several" in capsys.readouterr().err


def test_listed_sources_are_refused_too(tmp_path):
    for name in ("a.png", "b.png", "pose.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "pairs.csv").write_text("source,source_2,pose,target\na.png,b.png,pose.png,a.png\n")
    task = tiny_fpdm_task(step=FPDMStep(flow_loss=ALL))
    task.data = PoseTransferDataModule(train=FolderPairs(tmp_path, tmp_path, tmp_path / "pairs.csv"))
    with pytest.raises(PgpisError, match=r"data\.train lists several: a_2_pose"):
        task.setup("fit")
    tiny_mcld_task(step=MCLDStep(flow_loss=ALL)).setup("fit")

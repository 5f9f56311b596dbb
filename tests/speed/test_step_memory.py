"""``pgpis bench memory``: what is counted without memory is what real tensors take."""

import json
from pathlib import Path

import pytest
import torch

from pgpis.cli import main
from pgpis.cli.models import load_task
from pgpis.errors import PgpisError
from pgpis.methods.fpdm.options import FPDMStep
from pgpis.methods.mcld.options import MCLDStep
from pgpis.speed.batches import RandomData
from pgpis.speed.memory import GIB, LiveBytes, built_in, count_step, optimizer_bytes, step_memory, without_content
from pgpis.tasks.options import FlowLoss
from tiny_tasks import tiny_fpdm_task, tiny_mcld_task

TINY = Path(__file__).parents[1] / "configs/tiny.yaml"


def test_bytes_that_are_alive_are_counted_until_they_are_freed():
    live = LiveBytes()
    with live:
        kept = torch.zeros(1000)
        view = kept[10:]
        freed = torch.ones(500) + 1  # two tensors at once
        assert live.now == 4 * 1500
        del freed
    assert live.now == 4 * 1000
    assert live.peak == 4 * (1000 + 2 * 500)
    del kept
    assert live.now == 4 * 1000, "a view keeps it"
    del view
    assert live.now == 0


@pytest.mark.parametrize(
    ("make", "kept", "needed"),
    [
        (torch.optim.AdamW, 8, 4),
        (lambda weights: torch.optim.AdamW(weights, fused=True), 8, 0),
        (torch.optim.SGD, 0, 0),
        (lambda weights: torch.optim.SGD(weights, momentum=0.9), 4, 0),
    ],
)
def test_what_an_optimiser_keeps_and_needs(make, kept, needed):
    assert optimizer_bytes(make) == pytest.approx((kept, needed), abs=0.05)


@pytest.mark.slow
def test_an_optimiser_of_eight_bits():
    torchao = pytest.importorskip("torchao.optim")
    kept, needed = optimizer_bytes(torchao.AdamW8bit)
    assert 2 < kept < 2.2
    assert needed < 0.3


def counted(make, batch_size=2, precision="32-true", **options):
    (row,) = step_memory(without_content(), make(**options), [batch_size], precision)
    return row


@pytest.mark.slow
def test_a_larger_batch_takes_more_and_halves_and_checkpoints_take_less():
    row, larger = counted(tiny_mcld_task), counted(tiny_mcld_task, batch_size=4)
    assert (larger.weights, larger.gradients) == (row.weights, row.gradients)
    assert larger.rest > row.rest
    half = counted(tiny_mcld_task, precision="bf16-true")
    assert half.gradients == row.gradients / 2
    assert half.rest < row.rest
    assert counted(tiny_mcld_task, step=MCLDStep(gradient_checkpointing=True)).rest < row.rest


@pytest.mark.slow
def test_the_verb_counts_a_recipe(tmp_path, capsys):
    out = tmp_path / "memory.json"
    words = ["--config=smoke/fpdm.yaml", f"--config={TINY}", f"--out={out}", "--batch-sizes=3"]
    assert main(["bench", "memory", *words]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["batch_size"] == 3
    assert row["peak"] == pytest.approx(sum(row[name] for name in ("weights", "gradients", "optimizer", "rest")))
    assert row["optimizer"] == pytest.approx(2 * row["gradients"], rel=1e-3)
    assert f"| {row['peak']:.2f}" in capsys.readouterr().out


@pytest.mark.parametrize("make", [tiny_fpdm_task, tiny_mcld_task])
def test_the_count_is_that_of_tensors_that_exist(make):
    """The same step on real tensors, whose bytes are counted as they come and go."""
    empty = without_content()
    with built_in(empty):
        task = make()
    (row,) = step_memory(empty, task, [2])
    real = make().train()
    real.data = RandomData()
    real.prepare_training()
    _, weights, gradients, rest = count_step(real, 2, None, accumulates=False)
    assert (row.weights, row.gradients) == (weights, gradients)
    assert row.rest == pytest.approx(rest, rel=0.02)


def test_a_step_that_depends_on_content_is_told():
    with pytest.raises(PgpisError, match=r"FPDMTask.*content") as caught:
        counted(tiny_fpdm_task, step=FPDMStep(flow_loss=FlowLoss()))
    assert "bench train" in caught.value.hint


@pytest.mark.slow
def test_a_model_that_is_at_hand_is_counted(tmp_path):
    """Its weights, to the byte."""
    out = tmp_path / "memory.json"
    assert main(["bench", "memory", "--pipeline=synth-fpdm", "--batch-sizes=1", f"--out={out}"]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    task = load_task("synth-fpdm")
    weights = sum(value.nbytes for value in [*task.parameters(), *task.buffers()])
    assert row["weights"] == pytest.approx(weights / GIB)

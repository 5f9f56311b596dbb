"""The prior's contrastive loss: against an obvious version, in closed form, and over several processes."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
import torch.distributed as dist

from pgpis.methods.fpdm.losses import fusion_loss

TEMPERATURE, L1_WEIGHT = 0.07, 1e-4


def random_embeddings(pairs: int, width: int = 6, seed: int = 0) -> list[torch.Tensor]:
    return list(torch.randn(3, pairs, width, generator=torch.Generator().manual_seed(seed)).unbind())


def obvious_loss(source, target, fused, source_enhanced: bool) -> tuple[float, float, list[int]]:
    """Compute loss, L1 and the positions of the positives with loops."""
    rows, columns = list(target), list(fused)
    if source_enhanced:
        rows, columns = rows + list(source), columns + list(source)
    losses, positions = [], []
    for i, row in enumerate(rows):
        logits = [torch.cosine_similarity(row, column, dim=0).item() / TEMPERATURE for column in columns]
        losses.append(math.log(sum(math.exp(logit) for logit in logits)) - logits[i])
        positions.append(1 + sum(logit > logits[i] for logit in logits))
    differences = [abs(s - f) for s, f in zip(source.flatten().tolist(), fused.flatten().tolist(), strict=True)]
    l1 = sum(differences) / (len(differences) * (2 if source_enhanced else 1))
    return sum(losses) / len(losses) + L1_WEIGHT * l1, l1, positions


@pytest.mark.parametrize("source_enhanced", [False, True])
@pytest.mark.parametrize("pairs", [1, 7])
def test_equals_the_obvious_version(pairs, source_enhanced):
    embeddings = random_embeddings(pairs)
    loss, l1, positions = obvious_loss(*embeddings, source_enhanced)
    ours = fusion_loss(*embeddings, source_enhanced=source_enhanced)
    assert ours.loss.item() == pytest.approx(loss, abs=1e-5)
    assert ours.l1.item() == pytest.approx(l1, abs=1e-6)
    assert ours.top1.item() == pytest.approx(sum(p == 1 for p in positions) / len(positions))
    assert ours.top5.item() == pytest.approx(sum(p <= 5 for p in positions) / len(positions))
    assert ours.mean_position.item() == pytest.approx(sum(positions) / len(positions))


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_closed_form_of_a_perfect_prior(temperature):
    eye = torch.eye(8)
    loss = fusion_loss(eye, eye, eye, source_enhanced=False, temperature=temperature)
    assert loss.loss.item() == pytest.approx(math.log(1 + 7 * math.exp(-1 / temperature)), abs=1e-5)
    assert (loss.top1.item(), loss.mean_position.item(), loss.l1.item()) == (1, 1, 0)


def test_order_and_length_of_embeddings_do_not_matter():
    source, target, fused = random_embeddings(5)
    order = torch.tensor([3, 1, 4, 0, 2])
    shuffled = fusion_loss(source[order], 7 * target[order], fused[order])
    torch.testing.assert_close(shuffled.loss, fusion_loss(source, target, fused).loss)


def test_half_precision_autocast_does_not_change_the_loss():
    embeddings = random_embeddings(9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = fusion_loss(*embeddings).loss
    torch.testing.assert_close(loss, fusion_loss(*embeddings).loss)


CASES = {
    "source-enhanced": ((3, 3), True, True),
    "baseline": ((3, 3), False, True),
    "uneven": ((4, 1), True, True),
    "local": ((3, 3), True, False),
}
"""Pairs of each rank, and what the loss is told."""


def losses_of_a_rank() -> dict[str, dict[str, list[float]]]:
    """Compute loss and averaged gradients of one rank, as DistributedDataParallel would; nothing is deprecated."""
    rank, results = dist.get_rank(), {}
    for name, (split, source_enhanced, global_negatives) in CASES.items():
        weight, inputs = shared_problem(sum(split))
        rows = slice(sum(split[:rank]), sum(split[: rank + 1]))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loss = fusion_loss(
                *(part[rows] @ weight for part in inputs),
                source_enhanced=source_enhanced,
                global_negatives=global_negatives,
            )
            loss.loss.backward()
        dist.all_reduce(weight.grad)
        weight.grad /= len(split)
        results[name] = {"loss": loss.loss.tolist(), "top1": float(loss.top1), "grad": weight.grad.tolist()}
    return results


def shared_problem(pairs: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(6, 4, generator=generator).requires_grad_()
    return weight, list(torch.randn(3, pairs, 6, generator=generator).unbind())


@pytest.fixture(scope="module")
def ranks(two_processes):
    """Results of all cases, by rank."""
    return two_processes(losses_of_a_rank)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(ranks, case):
    split, source_enhanced, global_negatives = CASES[case]
    weight, inputs = shared_problem(sum(split))
    whole = fusion_loss(*(part @ weight for part in inputs), source_enhanced=source_enhanced)
    whole.loss.backward()
    results = [of_rank[case] for of_rank in ranks]
    for result in results:
        same_loss = torch.allclose(torch.tensor(result["loss"]), whole.loss, atol=1e-6)
        same_gradient = torch.allclose(torch.tensor(result["grad"]), weight.grad, atol=1e-6)
        assert (same_loss, same_gradient) == (global_negatives, global_negatives)
    if global_negatives:
        assert all(result["top1"] == whole.top1 for result in results)

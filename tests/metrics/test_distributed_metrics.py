"""Two processes measure the same as one, also when one of them has no data."""

import pytest
import torch
import torch.distributed

from pgpis.metrics import MAE, PSNR, SSIM, FeatureStatistics, RetrievalMetrics, frechet_distance

PAIRS = 5


def measure(part: slice) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    generated, target = torch.rand(2, PAIRS, 3, 20, 16, generator=generator)
    fused, embeddings = torch.randn(2, PAIRS, 8, generator=generator)
    keys = list("abcab")
    embeddings[3:] = embeddings[:2]
    psnr, ssim, retrieval = PSNR(), SSIM("gaussian"), RetrievalMetrics(8)
    mae, features = MAE(), FeatureStatistics(8)
    if len(keys[part]):
        psnr.update(generated[part], target[part])
        ssim.update(generated[part], target[part])
        retrieval.update(fused[part], embeddings[part], keys[part])
        mae.update(generated[part], target[part])
        features.update(fused[part])
    values = {"psnr": psnr.compute(), "ssim": ssim.compute(), "mae": mae.compute(), **retrieval.compute()}
    mean, covariance = features.compute()
    values["frechet"] = torch.tensor(frechet_distance(mean, covariance, mean + 1, torch.eye(8)))
    return {**{name: value.item() for name, value in values.items()}, "queries": retrieval.query_count}


SPLITS = (2, PAIRS)


def measure_parts() -> list[dict[str, float]]:
    rank = torch.distributed.get_rank()
    return [measure(slice(0, split) if rank == 0 else slice(split, PAIRS)) for split in SPLITS]


@pytest.mark.slow
def test_two_processes_measure_what_one_does(two_processes):
    alone = measure(slice(None))
    for values_of_rank in two_processes(measure_parts):
        for values in values_of_rank:
            assert values == pytest.approx(alone)

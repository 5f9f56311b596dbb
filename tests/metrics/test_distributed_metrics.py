"""Two processes measure the same as one, also when one of them has no data."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing

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


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    values = [measure(slice(0, split) if rank == 0 else slice(split, PAIRS)) for split in SPLITS]
    Path(folder, f"{rank}.json").write_text(json.dumps(values))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tmp_path):
    torch.multiprocessing.spawn(work, args=(str(tmp_path),), nprocs=2)
    alone = measure(slice(None))
    for rank in (0, 1):
        for values in json.loads((tmp_path / f"{rank}.json").read_text()):
            assert values == pytest.approx(alone)

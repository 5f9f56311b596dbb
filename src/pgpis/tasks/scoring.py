"""Scoring generated pictures against targets during ``pgpis test``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from pgpis.batch import PairFailure
from pgpis.files import file_name, meets_every_file, remove_unfinished
from pgpis.metrics import LPIPS, PSNR, SSIM, MetricReport, PairMetric, to_uint8, write_pair_values
from pgpis.pictures.images import save_image, tensor_to_images
from pgpis.tasks.base import gather_rows


class PairScores(nn.Module):
    """SSIM (both variants of the field), PSNR and, where its weights are on disk, LPIPS of generated pictures.

    Args:
        folder: Where the pictures, in ``images/``, and ``pairs.csv`` are written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.metrics = nn.ModuleDict(
            {"ssim": SSIM("uniform"), "ssim_gaussian": SSIM("gaussian"), "psnr": PSNR(), "lpips": LPIPS()}
        )
        self._rows: dict[str, dict[str, float]] = {}

    def remove_pictures(self) -> None:
        """Remove the pictures of an earlier test."""
        for picture in (self.folder / "images").glob("*.png"):
            picture.unlink()
        remove_unfinished(self.folder / "images")

    def add(self, images: torch.Tensor, truth: torch.Tensor, pair_ids: Sequence[str]) -> list[PairFailure]:
        """Write and score a batch of pictures, ``(B, 3, H, W)`` in [-1, 1].

        Returns:
            Pairs whose picture cannot be written: they are not scored.
        """
        failures, rows = [], []
        for row, (pair_id, image) in enumerate(zip(pair_ids, tensor_to_images(images), strict=True)):
            try:
                save_image(image, self.folder / "images" / file_name(pair_id, ".png"))
                rows.append(row)
            except Exception as error:
                if meets_every_file(error):
                    raise
                failures.append(PairFailure(pair_id, str(error)))
        if rows:
            self._update(to_uint8(images[rows]), to_uint8(truth[rows]), [pair_ids[row] for row in rows])
        return failures

    def _update(self, generated: torch.Tensor, target: torch.Tensor, pair_ids: Sequence[str]) -> None:
        rows: list[dict[str, float]] = [{} for _ in pair_ids]
        for name, metric in self._metrics().items():
            metric.update(generated, target)
            if metric.not_computed is None:
                for row, value in zip(rows, metric.last_values.tolist(), strict=True):
                    row[name] = value
        self._rows |= dict(zip(pair_ids, rows, strict=True))

    def report(self, size: tuple[int, int], details: Mapping[str, str | int | float]) -> MetricReport:
        """Return the means over all processes; collective, every process must call it."""
        count = torch.as_tensor(self._metrics()["psnr"].count).clone()
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(count)
        results = {name: metric.result() for name, metric in self._metrics().items()}
        return MetricReport("fpdm", int(count), results, size, details)

    def write_pairs(self) -> None:
        """Write one line per pair of all processes; collective."""
        rows = dict(gather_rows(list(self._rows.items())))
        rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        if rank == 0 and rows:
            pair_ids = sorted(rows)
            names = list(rows[pair_ids[0]])
            write_pair_values(
                self.folder / "pairs.csv",
                pair_ids,
                {name: [rows[pair_id][name] for pair_id in pair_ids] for name in names},
            )

    def reset(self) -> None:
        """Forget all pairs."""
        self._rows = {}
        for metric in self._metrics().values():
            metric.reset()

    def _metrics(self) -> dict[str, PairMetric]:
        return {name: metric for name, metric in self.metrics.items() if isinstance(metric, PairMetric)}

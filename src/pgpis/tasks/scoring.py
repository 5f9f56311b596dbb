"""Scoring generated pictures against targets during ``pgpis test``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pgpis.batch import PairFailure
from pgpis.files import file_name, remove_unfinished
from pgpis.metrics import LPIPS, PSNR, SSIM, MetricReport, to_uint8, write_pair_values
from pgpis.pictures.images import save_image, tensor_to_images
from pgpis.refusals import meets_every_file
from pgpis.tasks.ranks import gather_rows


class PairScores(nn.Module):
    """SSIM (both variants of the field), PSNR and, where its weights are on disk, LPIPS of generated pictures.

    The pictures are written to ``images/`` in the folder, and the values to ``pairs.csv``.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        metrics = {"ssim": SSIM("uniform"), "ssim_gaussian": SSIM("gaussian"), "psnr": PSNR(), "lpips": LPIPS()}
        self.metrics: Any = nn.ModuleDict(metrics)
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
        values: dict[str, list[float]] = {}
        for name, metric in self.metrics.items():
            metric.update(generated, target)
            if metric.not_computed is None:
                values[name] = metric.last_values.tolist()
        for row, pair_id in enumerate(pair_ids):
            self._rows[pair_id] = {name: column[row] for name, column in values.items()}

    def report(self, size: tuple[int, int], details: Mapping[str, str | int | float]) -> MetricReport:
        """Return the means over all processes; collective, every process must call it.

        Pairs that a mean leaves out as their values are infinite are counted among the details.
        """
        psnr = self.metrics["psnr"]
        count, infinite = map(sum, zip(*gather_rows([(int(psnr.count), int(psnr.infinite))]), strict=True))
        results = {name: metric.result() for name, metric in self.metrics.items()}
        left_out = {"infinite_psnr": infinite} if infinite and count else {}
        return MetricReport("fpdm", count + infinite, results, size, {**details, **left_out})

    def write_pairs(self, *, is_main: bool) -> None:
        """Write one line per pair of all processes, by the main one; collective."""
        rows = dict(sorted(gather_rows(list(self._rows.items()))))
        if is_main and rows:
            names = next(iter(rows.values()))
            columns = {name: [values[name] for values in rows.values()] for name in names}
            write_pair_values(self.folder / "pairs.csv", list(rows), columns)

    def reset(self) -> None:
        """Forget all pairs."""
        self._rows = {}
        for metric in self.metrics.values():
            metric.reset()

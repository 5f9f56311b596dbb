"""What tables call a metric, how many digits they show, and which end of it is good."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass

from pgpis.evaluate.published import CFLD_FIELDS, FIELDS, FPDM_FIELDS, ProtocolName

MODERN_COLUMNS = ("fd_dinov2", "kid", "cmmd", "dists", "face_cosine_target", "pck", "pckh", "oks", "nobody")
COLUMNS: Mapping[ProtocolName, tuple[str, ...]] = {
    "cfld": CFLD_FIELDS,
    "fpdm": FPDM_FIELDS,
    "modern": MODERN_COLUMNS,
}
"""Columns of tables of methods, by protocols that have others than :data:`FIELDS`."""


@dataclass(frozen=True)
class Column:
    """How a metric is shown."""

    label: str
    """In LaTeX."""
    lower_is_better: bool = False
    digits: int = 4

    @property
    def head(self) -> str:
        """The label with an arrow to the good end, in LaTeX."""
        arrow = rf"\{'down' if self.lower_is_better else 'up'}arrow$"
        return self.label.removesuffix("$") + arrow if self.label.endswith("$") else f"{self.label}${arrow}"


METRICS: Mapping[str, Column] = {
    "fid": Column("FID", lower_is_better=True, digits=3),
    "fid_gt": Column("FID$_{gt}$", lower_is_better=True, digits=3),
    "fid_train": Column("FID$_{train}$", lower_is_better=True, digits=3),
    "lpips": Column("LPIPS", lower_is_better=True),
    "ssim": Column("SSIM"),
    "psnr": Column("PSNR", digits=3),
    "mae": Column("MAE", lower_is_better=True),
    "l1": Column("L1", lower_is_better=True),
    "fd_dinov2": Column("FD$_{DINOv2}$", lower_is_better=True, digits=2),
    "kid": Column(r"KID$\times10^3$", lower_is_better=True, digits=3),
    "cmmd": Column("CMMD", lower_is_better=True, digits=3),
    "dists": Column("DISTS", lower_is_better=True),
    "pck": Column("PCK@0.1"),
    "pckh": Column("PCKh"),
    "oks": Column("OKS"),
    "nobody": Column("nobody found", lower_is_better=True),
    "face_cosine_source": Column("face cosine to source"),
    "face_cosine_target": Column("face cosine"),
    "face_euclidean_source": Column("face distance to source", lower_is_better=True),
    "face_euclidean_target": Column("face distance", lower_is_better=True),
    "hand_pose": Column("hand pose", lower_is_better=True),
}
"""Metrics that are columns of tables of methods, or better where they are lower."""

RANKING = ("lpips", "dists", "ssim", "oks")
"""By what pairs are ranked: the first of these that was measured."""


def columns_of(protocol: ProtocolName) -> tuple[str, ...]:
    """Return the metrics that a table of methods shows."""
    return COLUMNS.get(protocol, FIELDS)


def column(metric: str) -> Column:
    """Return how a metric is shown."""
    return METRICS.get(metric, Column(metric))


def shown(metric: str, value: float | str) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, str):
        return value
    return "inf" if math.isinf(value) else f"{value:z.{column(metric).digits}f}"


def ranking(measured: Container[str]) -> str | None:
    """Return the metric by which pairs are ranked; None where none of them was measured."""
    return next((metric for metric in RANKING if metric in measured), None)

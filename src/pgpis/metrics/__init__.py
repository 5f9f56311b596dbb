"""Metrics: of picture pairs, of the prior's retrieval, and their reports."""

from pgpis.metrics.image import PSNR, SSIM, PairMetric, to_uint8
from pgpis.metrics.lpips import LPIPS
from pgpis.metrics.report import MetricReport, write_pair_values
from pgpis.metrics.retrieval import RetrievalMetrics

__all__ = [
    "LPIPS",
    "PSNR",
    "SSIM",
    "MetricReport",
    "PairMetric",
    "RetrievalMetrics",
    "to_uint8",
    "write_pair_values",
]

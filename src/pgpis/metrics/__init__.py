"""Metrics: of picture pairs, of sets, of hands, of the prior's retrieval, and their reports."""

from pgpis.metrics.dists import DISTS
from pgpis.metrics.frechet import FeatureStatistics, frechet_distance
from pgpis.metrics.hands import hand_crop, hand_similarity
from pgpis.metrics.image import L1, MAE, PSNR, SSIM, PairMetric, to_uint8
from pgpis.metrics.inception import InceptionFeatures
from pgpis.metrics.lpips import LPIPS
from pgpis.metrics.retrieval import RetrievalMetrics
from pgpis.metrics.summary import MetricReport, write_pair_values

__all__ = [
    "DISTS",
    "L1",
    "LPIPS",
    "MAE",
    "PSNR",
    "SSIM",
    "FeatureStatistics",
    "InceptionFeatures",
    "MetricReport",
    "PairMetric",
    "RetrievalMetrics",
    "frechet_distance",
    "hand_crop",
    "hand_similarity",
    "to_uint8",
    "write_pair_values",
]

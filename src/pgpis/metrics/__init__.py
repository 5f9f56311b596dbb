"""Metrics: of picture pairs, of sets, of faces, of the prior's retrieval, and their reports."""

from pgpis.metrics.absolute import L1, MAE
from pgpis.metrics.face import FaceSimilarity
from pgpis.metrics.frechet import FeatureStatistics, frechet_distance
from pgpis.metrics.hands import HandSSIM, hand_crops
from pgpis.metrics.image import PSNR, SSIM, PairMetric, to_uint8
from pgpis.metrics.inception import InceptionFeatures
from pgpis.metrics.lpips import LPIPS
from pgpis.metrics.retrieval import RetrievalMetrics
from pgpis.metrics.summary import MetricReport, write_pair_values

__all__ = [
    "L1",
    "LPIPS",
    "MAE",
    "PSNR",
    "SSIM",
    "FaceSimilarity",
    "FeatureStatistics",
    "HandSSIM",
    "InceptionFeatures",
    "MetricReport",
    "PairMetric",
    "RetrievalMetrics",
    "frechet_distance",
    "hand_crops",
    "to_uint8",
    "write_pair_values",
]

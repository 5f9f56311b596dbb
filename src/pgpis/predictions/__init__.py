"""The folder that ``pgpis predict`` writes: pictures, drawn poses, ``predictions.csv``, a contact sheet."""

from pgpis.predictions.records import DONE, Prediction, PredictionRecord
from pgpis.predictions.videos import write_videos
from pgpis.predictions.writer import PredictionWriter

__all__ = ["DONE", "Prediction", "PredictionRecord", "PredictionWriter", "write_videos"]

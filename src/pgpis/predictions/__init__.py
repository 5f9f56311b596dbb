"""The folder that ``pgpis predict`` writes: marked pictures, drawn poses, ``predictions.csv``, a contact sheet."""

from pgpis.predictions.again import MarkedPicture
from pgpis.predictions.folder import PredictionFolder
from pgpis.predictions.marks import Mark, png_bytes, read_mark, save_marked
from pgpis.predictions.records import DONE, Prediction, PredictionRecord
from pgpis.predictions.videos import write_videos
from pgpis.predictions.writer import PredictionWriter

__all__ = [
    "DONE",
    "Mark",
    "MarkedPicture",
    "Prediction",
    "PredictionFolder",
    "PredictionRecord",
    "PredictionWriter",
    "png_bytes",
    "read_mark",
    "save_marked",
    "write_videos",
]

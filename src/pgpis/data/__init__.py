"""Data sets of pairs, their augmentation, and the DataModule that batches them.

The DataModule is loaded when it is asked for: Lightning takes seconds to import, and most verbs do without it.
"""

from typing import TYPE_CHECKING, Any

from pgpis.data.check import CheckReport, check_root
from pgpis.data.deepfashion import DeepFashion
from pgpis.data.folder import FolderPairs
from pgpis.data.missing import OnMissing
from pgpis.data.pairs import Appearance, Edit, LoadedPair, Pair, PairDataset
from pgpis.data.phoenix import Phoenix14T
from pgpis.data.sampler import ResumableSampler
from pgpis.data.transforms import Augmentation, PairTransform, sample_generator

if TYPE_CHECKING:
    from pgpis.data.datamodule import PoseTransferDataModule

__all__ = [
    "Appearance",
    "Augmentation",
    "CheckReport",
    "DeepFashion",
    "Edit",
    "FolderPairs",
    "LoadedPair",
    "OnMissing",
    "Pair",
    "PairDataset",
    "PairTransform",
    "Phoenix14T",
    "PoseTransferDataModule",
    "ResumableSampler",
    "check_root",
    "sample_generator",
]


def __getattr__(name: str) -> Any:
    if name == "PoseTransferDataModule":
        from pgpis.data.datamodule import PoseTransferDataModule

        return PoseTransferDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

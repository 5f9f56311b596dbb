"""Data sets of pairs, their augmentation, and the DataModule that batches them."""

from typing import TYPE_CHECKING

from pgpis.lazy import lazy_names

if TYPE_CHECKING:
    from pgpis.data.check import CheckReport, check_root
    from pgpis.data.datamodule import PoseTransferDataModule
    from pgpis.data.deepfashion import DeepFashion
    from pgpis.data.folder import FolderPairs
    from pgpis.data.missing import OnMissing
    from pgpis.data.packs.packed import Packed
    from pgpis.data.pair import Aim, Edit, LoadedPair, Pair, Person, Source
    from pgpis.data.pairs import PairDataset
    from pgpis.data.phoenix import Phoenix14T
    from pgpis.data.sampler import ResumableSampler
    from pgpis.data.transforms import Augmentation, PairTransform, sample_generator

__all__ = [
    "Aim",
    "Augmentation",
    "CheckReport",
    "DeepFashion",
    "Edit",
    "FolderPairs",
    "LoadedPair",
    "OnMissing",
    "Packed",
    "Pair",
    "PairDataset",
    "PairTransform",
    "Person",
    "Phoenix14T",
    "PoseTransferDataModule",
    "ResumableSampler",
    "Source",
    "check_root",
    "sample_generator",
]

__getattr__ = lazy_names(__name__, __file__)

"""What the conversions of all methods share; files are read without executing anything in them."""

from typing import TYPE_CHECKING

from pgpis.lazy import lazy_names

if TYPE_CHECKING:
    from pgpis.convert.checkpoint import ForeignCheckpoint, read_checkpoint
    from pgpis.convert.report import ConversionReport
    from pgpis.convert.rules import Duplicate, KeyReport, Rename, apply_rules

__all__ = [
    "ConversionReport",
    "Duplicate",
    "ForeignCheckpoint",
    "KeyReport",
    "Rename",
    "apply_rules",
    "read_checkpoint",
]

__getattr__ = lazy_names(__name__, __file__)

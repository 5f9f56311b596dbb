"""Official checkpoints to pgpis models; files are read without executing anything in them."""

from typing import TYPE_CHECKING

from pgpis.lazy import lazy_names

if TYPE_CHECKING:
    from pgpis.convert.checkpoint import ForeignCheckpoint, read_checkpoint
    from pgpis.convert.fpdm import convert_fpdm, map_official_keys
    from pgpis.convert.mcld import convert_mcld
    from pgpis.convert.report import ConversionReport
    from pgpis.convert.rules import Duplicate, KeyReport, Rename, apply_rules

__all__ = [
    "ConversionReport",
    "Duplicate",
    "ForeignCheckpoint",
    "KeyReport",
    "Rename",
    "apply_rules",
    "convert_fpdm",
    "convert_mcld",
    "map_official_keys",
    "read_checkpoint",
]

__getattr__ = lazy_names(__name__, __file__)

"""Official checkpoints to pgpis models; files are read without executing anything in them."""

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

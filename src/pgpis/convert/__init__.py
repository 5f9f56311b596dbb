"""What the conversions of all methods share; files are read without executing anything in them."""

from typing import TYPE_CHECKING

from pgpis.lazy import lazy_names

if TYPE_CHECKING:
    from pgpis.convert.conversion import ConversionReport
    from pgpis.convert.rules import Duplicate, KeyReport, Rename, apply_rules
    from pgpis.convert.state_dicts import ForeignCheckpoint, read_state_dict

__all__ = [
    "ConversionReport",
    "Duplicate",
    "ForeignCheckpoint",
    "KeyReport",
    "Rename",
    "apply_rules",
    "read_state_dict",
]

__getattr__ = lazy_names(__name__, __file__)

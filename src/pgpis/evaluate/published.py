"""Published numbers, and the names of the protocols by which they were measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

ProtocolName = Literal["cfld", "fpdm", "pcdm", "standard"]
Size = tuple[int, int]
"""(height, width)."""

Row = Mapping[str, float]
COLUMNS = ("fid", "fid_gt", "lpips", "ssim", "psnr")
"""Columns of the published tables."""


def _rows(text: str) -> dict[str, Row]:
    table: dict[str, Row] = {}
    for line in text.strip().splitlines():
        name, *cells = (cell.strip() for cell in line.split("|"))
        table[name] = {column: float(cell) for column, cell in zip(COLUMNS, cells, strict=True) if cell != "-"}
    return table


_FPDM_256 = """
SPGNet | 16.184 | 14.107 | 0.2256 | 0.6965 | 17.222
DPTN | 17.419 | 15.491 | 0.2093 | 0.6975 | 17.811
NTED | 8.517 | 6.935 | 0.1770 | 0.7156 | 17.740
CASD | 13.137 | 11.619 | 0.1781 | 0.7224 | 17.880
PIDM | 6.812 | 5.168 | 0.2006 | 0.6621 | 15.630
PoCoLD | 8.067 | - | 0.1642 | 0.7310 | -
CFLD | 6.804 | 5.688 | 0.1519 | 0.7378 | 18.235
PCDMs | 7.699 | 5.901 | 0.1572 | 0.7280 | 18.385
FPDM (B6) | 7.318 | 5.459 | 0.1445 | 0.7417 | 18.832
VAE reconstruction | 8.338 | 1.250 | 0.0103 | 0.9634 | 34.878
ground truth | 7.847 | 0.000 | 0.0000 | 1.0000 | -
"""
_FPDM_512 = """
CoCosNet2 | 13.325 | - | 0.2265 | 0.7236 | -
NTED | 7.645 | 6.602 | 0.1999 | 0.7359 | 17.385
PoCoLD | 8.416 | - | 0.1920 | 0.7430 | -
CFLD | 7.149 | 6.177 | 0.1819 | 0.7478 | 17.645
PCDMs | 7.747 | 6.086 | 0.1729 | 0.7471 | 18.028
FPDM (B4) | 7.464 | 5.797 | 0.1734 | 0.7466 | 18.125
FPDM (B6) | 7.534 | 5.884 | 0.1717 | 0.7487 | 18.197
VAE reconstruction | 8.492 | 1.488 | 0.0212 | 0.9149 | 30.633
ground truth | 8.010 | 0.000 | 0.0000 | 1.0000 | -
"""
_MCLD_256 = "MCLD | 6.693 | - | 0.1482 | 0.7511 | 18.84"
_MCLD_512 = "MCLD | 7.079 | - | - | 0.7557 | 18.211"

PUBLISHED: Mapping[ProtocolName, Mapping[Size, Mapping[str, Row]]] = {
    "fpdm": {(256, 176): _rows(_FPDM_256), (512, 352): _rows(_FPDM_512)},
    "cfld": {(256, 176): _rows(_MCLD_256), (512, 352): _rows(_MCLD_512)},
}
"""Published on DeepFashion; FPDM's table 1 and MCLD's tables."""

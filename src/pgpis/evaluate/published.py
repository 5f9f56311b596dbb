"""Published numbers, and the names of the protocols by which they were measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

ProtocolName = Literal["cfld", "fpdm", "modern", "pcdm", "standard"]
Size = tuple[int, int]
"""(height, width)."""
Over = Literal["pairs", "people"]
"""What intervals draw anew: pairs, or people with all their pairs."""

Row = Mapping[str, float]
FIELDS = ("fid", "fid_gt", "lpips", "ssim", "psnr")
"""Columns of tables of methods; the FID of CFLD and of those that follow it is against the training pictures."""
FPDM_FIELDS = ("fid_train", *FIELDS[1:])
"""Columns of FPDM's tables: both of its FIDs, of which the first is against the training pictures too."""
CFLD_FIELDS = (*FIELDS, "face_cosine_source", "face_cosine_target")
"""Columns of tables of CFLD's protocol, by which MCLD measured faces too."""


def _rows(text: str, fields: tuple[str, ...]) -> dict[str, Row]:
    table: dict[str, Row] = {}
    for line in text.strip().splitlines():
        name, *cells = (cell.strip() for cell in line.split("|"))
        table[name] = {field: float(cell) for field, cell in zip(fields, cells, strict=True) if cell != "-"}
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
FPDM (B1) | 7.607 | 6.243 | 0.1824 | 0.7443 | 17.768
FPDM (B2) | 7.349 | 6.073 | 0.1885 | 0.7379 | 17.627
FPDM (B3) | 7.506 | 5.912 | 0.1737 | 0.7470 | 18.1254
FPDM (B4) | 7.464 | 5.797 | 0.1734 | 0.7466 | 18.125
FPDM (B5) | 7.596 | 6.0346 | 0.1737 | 0.7475 | 18.1233
FPDM (B6) | 7.534 | 5.884 | 0.1717 | 0.7487 | 18.197
VAE reconstruction | 8.492 | 1.488 | 0.0212 | 0.9149 | 30.633
ground truth | 8.010 | 0.000 | 0.0000 | 1.0000 | -
"""
_CFLD_256 = """
X-MDPT-L | 6.25 | - | 0.167 | 0.729 | - | - | -
IMAGPose | 5.87 | - | 0.128 | 0.756 | - | - | -
Leffa | 5.71 | - | 0.114 | 0.732 | - | - | -
CFLD | - | - | - | - | - | 0.243 | 0.363
MCLD | 6.693 | - | 0.1482 | 0.7511 | 18.84 | 0.301 | 0.413
"""
_CFLD_512 = """
X-MDPT-L | 5.93 | - | 0.179 | 0.742 | - | - | -
IMAGPose | 5.63 | - | 0.140 | 0.772 | - | - | -
Leffa | 4.23 | - | 0.119 | 0.755 | - | - | -
MCLD | 7.079 | - | - | 0.7557 | 18.211 | - | -
"""

PUBLISHED: Mapping[ProtocolName, Mapping[Size, Mapping[str, Row]]] = {
    "fpdm": {(256, 176): _rows(_FPDM_256, FPDM_FIELDS), (512, 352): _rows(_FPDM_512, FPDM_FIELDS)},
    "cfld": {(256, 176): _rows(_CFLD_256, CFLD_FIELDS), (512, 352): _rows(_CFLD_512, CFLD_FIELDS)},
}
"""Published on DeepFashion. FPDM's table 3 does not tell its size: its B4 and B6 are those of table 1 at 512 x 352,
but for B4's PSNR, 18.1315 there.

Of Leffa, IMAGPose and X-MDPT it is known only that their FID is that of CFLD's kind.
"""

PAPERS: Mapping[ProtocolName, Mapping[str, str]] = {
    "fpdm": {
        **dict.fromkeys({**PUBLISHED["fpdm"][256, 176], **PUBLISHED["fpdm"][512, 352]}, "FPDM, table 1"),
        **dict.fromkeys((f"FPDM ({model})" for model in ("B1", "B2", "B3", "B5")), "FPDM, table 3"),
    },
    "cfld": {
        "X-MDPT-L": "X-MDPT (Pham et al., ICML 2024)",
        "IMAGPose": "IMAGPose (Shen and Tang, NeurIPS 2024)",
        "Leffa": "Leffa (Zhou et al., CVPR 2025)",
        "CFLD": "MCLD",
        "MCLD": "MCLD",
    },
}
"""The paper that a row is from: papers disagree on one and the same method."""

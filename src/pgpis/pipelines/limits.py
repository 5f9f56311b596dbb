"""What a call of any pipeline may ask for; read by the command line before torch is loaded."""

from __future__ import annotations

from pgpis.errors import PgpisError, check_range

MOST_PIXELS = 4096
"""Longest side of a result."""
MOST_STEPS = 1000
"""Most denoising steps: the noise levels of the published schedulers."""
MOST_IMAGES = 1000
"""Most results per pair in one call."""
LARGEST_SEED = 2**32 - 1
"""Largest seed that NumPy, and therefore Lightning, takes."""


def check_band(name: str, band: object) -> None:
    """Refuse what is not a lowest and a highest noise level.

    Raises:
        PgpisError: Names the option.
    """
    if band is None:
        return
    if not isinstance(band, tuple | list) or len(band) != 2:
        raise PgpisError(f"{name} is {band!r}, expected a lowest and a highest noise level, such as (0.2, 0.8)")
    for value in band:
        check_range(name, value, 0, 1)
    if band[0] > band[1]:
        raise PgpisError(f"{name} is {tuple(band)}, expected the lower noise level first")

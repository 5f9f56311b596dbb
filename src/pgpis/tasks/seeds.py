"""Seeds of random draws."""

from __future__ import annotations

import hashlib


def stable_seed(*parts: object) -> int:
    """Return a 63-bit seed that depends only on the parts, not on the process or machine."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1

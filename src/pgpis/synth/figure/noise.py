"""Smooth noise in space: wrinkles, denim, mottled skin."""

from __future__ import annotations

import numba
import numpy as np

from pgpis.synth.figure.mesh import Float

SIZE = 32
TABLE = np.random.default_rng(7).uniform(-1, 1, (3, SIZE, SIZE, SIZE)).astype(np.float32)


def value_noise(points: Float, frequency: float, channel: int = 0) -> Float:
    """Return smooth noise in -1..1 at points ``(N, 3)``, metres, with ``frequency`` values per metre.

    It repeats after ``32 / frequency`` metres; the channels 0, 1 and 2 are independent of each other.
    """
    return _trilinear(np.ascontiguousarray(points, np.float32), np.float32(frequency), TABLE[channel])


def grain(points: Float, frequency: float, channel: int = 0) -> Float:
    """Return noise in -1..1 that is constant in cells of ``1 / frequency`` metres."""
    cell = np.floor(points * np.float32(frequency)).astype(np.int32) & (SIZE - 1)
    return TABLE[channel][cell[:, 0], cell[:, 1], cell[:, 2]]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _trilinear(points: Float, frequency: np.float32, table: Float) -> Float:
    result = np.empty(len(points), np.float32)
    one, two, three = np.float32(1), np.float32(2), np.float32(3)
    for n in range(len(points)):
        x, y, z = points[n, 0] * frequency, points[n, 1] * frequency, points[n, 2] * frequency
        i, j, k = np.int64(np.floor(x)), np.int64(np.floor(y)), np.int64(np.floor(z))
        u, v, w = np.float32(x - i), np.float32(y - j), np.float32(z - k)
        u, v, w = u * u * (three - two * u), v * v * (three - two * v), w * w * (three - two * w)
        i0, j0, k0 = i & 31, j & 31, k & 31
        i1, j1, k1 = (i + 1) & 31, (j + 1) & 31, (k + 1) & 31
        a = table[i0, j0, k0] * (one - u) + table[i1, j0, k0] * u
        b = table[i0, j1, k0] * (one - u) + table[i1, j1, k0] * u
        c = table[i0, j0, k1] * (one - u) + table[i1, j0, k1] * u
        d = table[i0, j1, k1] * (one - u) + table[i1, j1, k1] * u
        result[n] = (a * (one - v) + b * v) * (one - w) + (c * (one - v) + d * v) * w
    return result

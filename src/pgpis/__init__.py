"""Pose-guided person image synthesis: one picture and a target pose in, the same person in that pose out."""

from pgpis.aliases import install

__version__ = "0.1.0"

install()

"""Pose-guided person image synthesis: one picture and a target pose in, the same person in that pose out."""

__version__ = "0.1.0"

"""Synthetic people: dressed bodies in any pose, with with every label exact."""

"""Synthetic people: dressed bodies in any pose, with every label exact."""

"""Drawn people, and requests about them."""

import pytest


@pytest.fixture(scope="session")
def drawn_people(draw_people, made_once):
    """Pictures of two people from two sides."""
    root = made_once("people of the service", lambda root: draw_people(root, people=2, views=2, seed=3, share=0.5))
    return [path.read_bytes() for path in sorted((root / "img").rglob("*.jpg"))]

"""Fixtures shared by all tests. The network is blocked by pytest-socket (see pyproject.toml)."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "2")

"""Weights that others published: what they are for, under which licence, where they lie and how to get them."""

from pgpis.weight_files.catalogue import CATALOGUE, WeightFile, catalogued
from pgpis.weight_files.checksums import FileState, states, verify
from pgpis.weight_files.getting import fetch, is_settled
from pgpis.weight_files.places import expected_file, fetch_command, find, locate, places, require, weights_folder

__all__ = [
    "CATALOGUE",
    "FileState",
    "WeightFile",
    "catalogued",
    "expected_file",
    "fetch",
    "fetch_command",
    "find",
    "is_settled",
    "locate",
    "places",
    "require",
    "states",
    "verify",
    "weights_folder",
]

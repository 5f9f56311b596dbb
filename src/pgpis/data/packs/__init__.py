"""Pairs in shards: planned, written, read by number, checked."""

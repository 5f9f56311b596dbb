"""Data sets, editing benchmarks and contact sheets of synthetic people on disk."""

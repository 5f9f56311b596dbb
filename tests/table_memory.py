"""What a table of pairs takes in memory, measured where nothing else runs: threads of other tests allocate as well."""

import json
import tracemalloc
from pathlib import Path

from pgpis.data import FolderPairs


def measure(folder: Path) -> None:
    """Write the bytes a pair that are kept, and that were in use at most, to ``memory.json``."""
    dataset = FolderPairs(folder / "sources", folder / "poses", pairs_csv=folder / "pairs.csv")
    tracemalloc.start()
    dataset.setup()
    figures = [value / len(dataset) for value in tracemalloc.get_traced_memory()]
    tracemalloc.stop()
    (folder / "memory.json").write_text(json.dumps(figures))

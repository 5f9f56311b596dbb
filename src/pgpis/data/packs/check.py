"""What is in a pack, and which of its shards are missing or damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from pgpis.data.packs.lists import PACK, read_index, read_list, read_pack
from pgpis.data.packs.stores import Store
from pgpis.jobs import reason_of

if TYPE_CHECKING:
    from pgpis.data.check import CheckReport

SPLITS = ("train", "val", "test", "predict")


def packs_in(place: str) -> dict[str, bytes]:
    """Return the splits that are packed in a folder or URL, and what is said of them."""
    store = Store(place)
    packs = {split: store.below(split).read_if_there(PACK) for split in SPLITS}
    return {split: content for split, content in packs.items() if content is not None}


def check_pack(report: CheckReport, store: Store, said: bytes, split: str) -> None:
    """Compare the list and each shard of a split with the hashes that were written."""
    try:
        pack = read_pack(store, said)
        content, files, pairs = read_list(store, pack)
        chunks = read_index(store)
        features = content.get("features", {})
    except Exception as error:  # noqa: BLE001  whatever a damaged file makes of it
        report.problems.append(reason_of(error))
        return
    report.counts |= {f"pairs in {split}/": len(pairs), f"files in {split}/": len(files)}
    report.counts[f"shards in {split}/"] = len(chunks)
    report.notes.append(f"{split}/ holds {', '.join(pack['kinds'])} beside pictures")
    for name, entry in features.items():
        variants, dtype = len(entry["variants"]), entry["dtype"]
        report.notes.append(f"{split}/ holds {name} of {len(entry['files']):,} files in {variants} variants of {dtype}")
    for chunk in track(chunks, f"checking {split}", console=Console(stderr=True), transient=True):
        try:
            if store.digest(chunk["filename"]) != chunk["sha256"]:
                report.problems.append(
                    f"{split}/{chunk['filename']}: damaged; remove it, and run the same pgpis data pack again"
                )
        except Exception as error:  # noqa: BLE001  as above
            report.problems.append(f"{split}/{chunk['filename']}: {reason_of(error)}")

"""What a pack says of itself: what is packed, its pairs, its shards."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pgpis.data.packs.stores import Store
from pgpis.errors import PgpisError

FORMAT = 1
PACK, LIST, INDEX = "pack.json", "list.json", "index.json"
"""What is packed; pairs and names of files; litdata's index of the shards."""
AGAIN = "run the same 'pgpis data pack' again: it goes on"


def refuse_elsewhere(name: object, where: str, hint: str) -> None:
    """Refuse the name of a pair or video, by which results are called, if it leads out of their folder.

    Raises:
        PgpisError: It is not one part of a path; ``where`` says who calls it so.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or not {*"/\\\0"}.isdisjoint(name):
        raise PgpisError(f"{where} {name!r:.200}, expected the name of a file, without folders", hint=hint)


def read_pack(store: Store, content: bytes) -> dict[str, Any]:
    """Read what is said of a pack.

    Raises:
        PgpisError: It is not whole, or of a later version.
    """
    try:
        pack = dict(json.loads(content))
        is_whole, form = pack["finished"], pack["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise PgpisError(f"{store}/{PACK} is damaged: {error}", hint=AGAIN) from error
    if form != FORMAT:
        raise PgpisError(f"{store}/{PACK} has format {form}; this version reads {FORMAT}", hint="upgrade pgpis")
    if not is_whole:
        raise PgpisError(f"the pack {store} is not complete", hint=AGAIN)
    return pack


def source_in(content: bytes, otherwise: str) -> str:
    """Return whose pairs a pack says that it holds; ``otherwise`` of earlier versions, and of what no reader takes."""
    try:
        pack = json.loads(content)
    except ValueError:
        return otherwise
    return str(pack.get("source", otherwise)) if isinstance(pack, dict) else otherwise


def read_list(store: Store, pack: dict[str, Any]) -> tuple[dict[str, Any], list[Path], list[list[Any]]]:
    """Return the list of a pack, its files, and its pairs as rows.

    Raises:
        PgpisError: It is missing or damaged.
    """
    text = store.read(LIST)
    if hashlib.sha256(text).hexdigest() != pack["list_sha256"]:
        raise PgpisError(f"{store}/{LIST} is damaged", hint=AGAIN)
    content: dict[str, Any] = json.loads(text)
    return content, [Path(name) for name in content["files"]], content["pairs"]


def read_index(store: Store) -> list[dict[str, Any]]:
    """Return what litdata's index says of each shard, and its hash.

    Raises:
        PgpisError: It is missing, or names a file elsewhere.
    """
    chunks: list[dict[str, Any]] = json.loads(store.read(INDEX))["chunks"]
    for chunk in chunks:
        name, numbers = str(chunk["filename"]), (chunk["chunk_size"], chunk["chunk_bytes"])
        has_hash = re.fullmatch("[0-9a-f]{64}", str(chunk["sha256"])) is not None
        if Path(name).name != name or not has_hash or not all(type(number) is int and number > 0 for number in numbers):
            raise PgpisError(f"{store}/{INDEX}: '{name}' is not a shard", hint=AGAIN)
    return chunks

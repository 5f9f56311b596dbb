"""Pickles of torch tensors with the same bytes every time.

``pickle.dump`` of a tensor writes the address of its memory as the key of its storage, so that no two files are equal.
Here the key is 0; everything else is written as torch writes it, and ``pickle.load`` reads it.
"""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import torch
from torch.storage import TypedStorage, _load_from_bytes

PROTOCOL = 2


def pickled(value: Any) -> bytes:
    """Pickle a value of dicts, lists, numbers, text and tensors."""
    file = io.BytesIO()
    _TensorPickler(file, PROTOCOL).dump(value)
    return file.getvalue()


class _TensorPickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, TypedStorage):
            return NotImplemented
        file = io.BytesIO()
        torch.save(value, file, _use_new_zipfile_serialization=False)
        address = _text(str(value._cdata))  # noqa: SLF001  the key that torch takes; it comes twice before the numbers
        return _load_from_bytes, (file.getvalue().replace(address, _text("0"), 2),)


def _text(text: str) -> bytes:
    """Return text as protocol 2 pickles it."""
    return b"X" + struct.pack("<I", len(text)) + text.encode()

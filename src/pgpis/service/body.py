"""The body of a request: a form of limited size, in limited time."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.datastructures import FormData
from starlette.types import Message

from pgpis.service.jobs import RefusedError
from pgpis.studio.uploads import drain

UPLOAD_SECONDS = 120.0
"""In which a request must have arrived."""
_MOST_FILES = 32
_MOST_FIELDS = 32
_MOST_TEXT = 1000
"""Bytes of a field that is not a file."""


async def read_form(request: Request, most: int) -> FormData:
    """Receive a form.

    Args:
        request: Nothing of its body is read yet.
        most: Bytes that it may have.

    Raises:
        RefusedError: It is too large or too slow, or its text cannot be read.
    """
    body = _Body(request, most)
    try:
        if int(request.headers.get("content-length", "0")) > most:
            raise body.too_large()
        async with asyncio.timeout(UPLOAD_SECONDS):
            limited = Request(request.scope, body.receive)
            return await limited.form(max_files=_MOST_FILES, max_fields=_MOST_FIELDS, max_part_size=_MOST_TEXT)
    except TimeoutError:
        raise RefusedError(408, f"the request did not arrive within {UPLOAD_SECONDS:.0f} seconds") from None
    except UnicodeError:  # of a codec that reads nothing: charset=undefined
        raise RefusedError(400, "the text of the form cannot be read in its charset", hint="UTF-8") from None
    except RefusedError:
        await body.drain()
        raise


class _Body:
    """What a client sends, up to a limit."""

    def __init__(self, request: Request, most: int) -> None:
        self.request = request
        self.most = most
        self.size = 0
        self.is_whole = False

    async def receive(self) -> Message:
        """Receive a part.

        Raises:
            RefusedError: All parts are too large together.
        """
        message = await self.request.receive()
        self.size += len(message.get("body", b""))
        self.is_whole = not message.get("more_body", False)
        if self.size > self.most:
            raise self.too_large()
        return message

    async def drain(self) -> None:
        """Take some of what is left.

        A client that asks first (``Expect: 100-continue``, as curl does) is spared the sending.
        """
        if not self.is_whole and "expect" not in self.request.headers:
            await drain(self.request.receive, 8 * self.most - self.size)

    def too_large(self) -> RefusedError:
        return RefusedError(413, f"the request has more than {self.most:,} bytes", hint="scale the pictures down")

"""Bodies of requests, read within limits before Gradio reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.formparsers import MultiPartException

from pgpis.studio.uploads import drain

MOST_JSON = 2**23
"""Bytes of a request that uploads nothing: a skeleton over its picture takes most."""
DRAINED = 8
"""Times a limit that are received of what is above it, and dropped: else its sender would not see why."""
FIELD = b"files"
"""The one field of an upload that Gradio takes; files of others it would leave where they are."""
TOO_LARGE = "maximum allowed size"
"""In the message of an upload that is answered with 413, as Gradio spells it."""


async def body_of(receive: Any) -> bytes | None:
    """Read a request; None: it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        has_more = message.get("more_body")
        if len(body) > MOST_JSON:
            if has_more:
                await drain(receive, DRAINED * MOST_JSON)
            return None
        if not has_more:
            return bytes(body)


def again(body: bytes, receive: Any) -> Any:
    """Return what hands a body on that has been read."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Any:
        return messages.pop() if messages else await receive()

    return next_message


class UploadBody:
    """The body of an upload while Gradio receives it: whole files and nothing else, so many and so large together.

    What it refuses it raises as Gradio's own parser does, which then removes the files that it has begun.

    Args:
        receive: What it comes from.
        content_type: The header.
        most_files: Files that it may have.
        most: Bytes that it may have.

    Raises:
        MultiPartException: It is not a form with files.
    """

    def __init__(self, receive: Any, content_type: str, most_files: int, most: int) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or options.get(b"charset", b"utf-8").lower() != b"utf-8":
            raise MultiPartException("expected multipart/form-data in UTF-8")
        self._receive = receive
        self._most_files, self._most = most_files, most
        self._files = self._size = 0
        self._has_arrived = self._is_whole = False
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        try:
            self._parser = MultipartParser(options[b"boundary"], self._callbacks())  # type: ignore[arg-type]
        except (KeyError, FormParserError) as error:
            raise MultiPartException("expected a boundary of the parts") from error

    async def __call__(self) -> Any:
        """Receive a part.

        Raises:
            MultiPartException: It is refused, or its end is missing.
        """
        message = await self._receive()
        if self._has_arrived:
            return message
        if message["type"] == "http.disconnect":
            raise MultiPartException("the client has left")
        chunk = message.get("body", b"")
        self._size += len(chunk)
        if self._size > self._most:
            if message.get("more_body"):
                await drain(self._receive, DRAINED * self._most)
            raise MultiPartException(f"The upload has more than the {TOO_LARGE} of {self._most} bytes")
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MultiPartException(f"not a form with files: {error}") from error
        self._has_arrived = not message.get("more_body")
        if self._has_arrived and not self._is_whole:
            raise MultiPartException("the end of the form is missing")
        return message

    def _callbacks(self) -> Mapping[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._check,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition = b""

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _check(self) -> None:
        """Refuse a part of which nothing would be kept, or more than may be in memory."""
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename")
        if options.get(b"name") != FIELD or name is None or PurePosixPath(name.decode("utf-8", "replace")).name == "..":
            raise MultiPartException(f"expected files with names, each in the field '{FIELD.decode()}'")
        self._files += 1
        if self._files > self._most_files:
            raise MultiPartException(f"The upload has more than {self._most_files} files, its {TOO_LARGE}")

    def _end(self) -> None:
        self._is_whole = True

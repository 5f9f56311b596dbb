"""What is refused before Gradio sees it, and what browsers are told."""

from __future__ import annotations

import json
import re
import time
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException
from starlette.responses import PlainTextResponse

from pgpis.app.bodies import MOST_JSON, UploadBody, again, body_of
from pgpis.app.uploads import MOST_AT_ONCE, names_addresses

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob: data:; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
        "font-src 'self' data:; connect-src 'self' blob: data:; object-src 'none'; base-uri 'self'; form-action 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
"""Whatever a page holds, a browser asks no other host for anything."""
UPLOAD = "/gradio_api/upload"
"""The one route that takes files."""
NEVER_ASKED = re.compile(
    r"/proxy=|/gradio_api[/\\]+(file[/\\]|process_recording)|/file=([/\\]*[a-z][a-z0-9+.-]+:|[/\\]{2}|\\)",
    re.IGNORECASE,
)
"""Routes that the page does without, and files that are addresses: Gradio would fetch them for whoever asks."""

ASKED = "asked"
"""In the state of a request: when it came. What it asks for may wait before it begins."""


class Guard:
    """Refuses what the page never asks for.

    Gradio would fetch an address for whoever names it in place of a file, and take a JSON or a form of any size.

    Args:
        app: What is asked next.
        most_upload: Megabytes of one uploaded file.
    """

    def __init__(self, app: Any, most_upload: int) -> None:
        self.app = app
        self.most_upload = most_upload

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_headed(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        scope.setdefault("state", {})[ASKED] = time.monotonic()
        read = await self._read(scope, receive)
        if isinstance(read, PlainTextResponse):
            await read(scope, receive, send_headed)
        else:
            await self.app(scope, read, send_headed)

    async def _read(self, scope: Any, receive: Any) -> Any:
        """Return what a request is received from, or the answer that refuses it."""
        path = scope["path"]
        if NEVER_ASKED.search(path) or NEVER_ASKED.search(unquote(path)):
            return PlainTextResponse("Addresses are not fetched.", 403)
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return receive
        if path.removeprefix(scope.get("root_path", "")) == UPLOAD:
            most = self.most_upload * MOST_AT_ONCE * 2**20
            try:
                return UploadBody(receive, Headers(scope=scope).get("content-type", ""), MOST_AT_ONCE, most)
            except MultiPartException as error:
                return PlainTextResponse(error.message, 415)
        return await _read_json(receive)


async def _read_json(receive: Any) -> Any:
    """Return what hands a body on that uploads nothing, or the answer that refuses it."""
    body = await body_of(receive)
    if body is None:
        return PlainTextResponse(f"More than {MOST_JSON} bytes.", 413)
    if _is_refused(body):
        return PlainTextResponse("Upload files: addresses are not fetched.", 403)
    return again(body, receive)


def _is_refused(body: bytes) -> bool:
    try:
        return names_addresses(json.loads(body or b"null"))
    except RecursionError:
        return True
    except ValueError:  # a form, or nothing that Gradio reads either
        return False

"""What is refused before Gradio sees it, and what browsers are told."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import PlainTextResponse

from pgpis.app.uploads import names_addresses

MOST_JSON = 2**23
"""Bytes of a request that uploads nothing: a skeleton over its picture takes most."""
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
ADDRESS = re.compile(r"/(file|proxy)=(https?:|//|\\)", re.IGNORECASE)


class Guard:
    """Refuses what the page never asks for.

    Gradio would fetch an address for whoever names it in place of a file, and take a JSON of any size.

    Args:
        app: What is asked next.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

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

        if ADDRESS.search(scope["path"]):
            await PlainTextResponse("Addresses are not fetched.", 403)(scope, receive, send_headed)
            return
        if scope["method"] != "POST" or scope["path"].rstrip("/").endswith("/upload"):
            await self.app(scope, receive, send_headed)
            return
        body = await _body(receive)
        if body is None:
            await PlainTextResponse(f"More than {MOST_JSON} bytes.", 413)(scope, receive, send_headed)
        elif _is_refused(body):
            await PlainTextResponse("Upload files: addresses are not fetched.", 403)(scope, receive, send_headed)
        else:
            await self.app(scope, _again(body, receive), send_headed)


async def _body(receive: Any) -> bytes | None:
    """Read a request; None: it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_JSON:
            return None
        if not message.get("more_body"):
            return bytes(body)


def _is_refused(body: bytes) -> bool:
    try:
        return names_addresses(json.loads(body or b"null"))
    except RecursionError:
        return True
    except ValueError:  # a form, or nothing that Gradio reads either
        return False


def _again(body: bytes, receive: Any) -> Any:
    """Return what hands a body on that has been read."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Any:
        return messages.pop() if messages else await receive()

    return next_message

"""The addresses of the service, what they answer and how they refuse."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import jinja2
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pgpis import __version__
from pgpis.service.forms import form_schema, read_job
from pgpis.service.jobs import Answer, Job, RefusedError, error_body
from pgpis.service.metrics import Metrics
from pgpis.service.settings import ServiceSettings

GONE = 499
"""Nginx's status for a client that left; it is counted, nobody reads it."""
Ask = Callable[[Job], Coroutine[Any, Any, Answer]]
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _nothing(_app: FastAPI) -> AsyncIterator[None]:
    yield


def create_app(
    settings: ServiceSettings, ask: Ask, ready: Callable[[], int], workers: int, lifespan: Lifespan = _nothing
) -> FastAPI:
    """Make the application.

    Args:
        settings: Models, key and limits.
        ask: Has a job done; is cancelled where its client leaves.
        ready: Returns how many workers can draw.
        workers: How many there should be.
        lifespan: What runs beside it.
    """
    models = settings.models()
    metrics = Metrics(ready)
    about = "A picture and a pose go in; the same person in that pose comes out."
    app = FastAPI(
        title="pgpis", version=__version__, description=about, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.metrics = metrics
    _answer_errors(app)
    guard = [Depends(key_check(settings.api_key))]

    @app.post("/v1/pictures", dependencies=guard, **_description(models, settings))
    async def make_pictures(request: Request) -> Response:
        """Draw a person in a pose."""
        with _counted(metrics, settings.limits.max_waiting) as outcome:
            job = await read_job(request, models, settings.limits)
            answer = await _unless_gone(request, ask(job))
            metrics.count_drawing(answer)
            outcome["status"] = answer.status
            return Response(answer.body, answer.status, {"Cache-Control": "no-store"}, answer.media_type)

    @app.get("/health", summary="Whether pictures can be drawn")
    def tell_health() -> Response:
        count = ready()
        content = {"status": "ok" if count else "starting", "workers": {"ready": count, "all": workers}}
        return Response(json.dumps(content | {"models": list(models)}), 200 if count else 503, None, "application/json")

    @app.get("/metrics", dependencies=guard, summary="Counters in Prometheus' format")
    def tell_metrics() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    template = _page()
    statuses = {status.value: status.phrase for status in HTTPStatus}

    @app.get("/docs", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    def tell_docs(request: Request) -> HTMLResponse:
        page = template.render(schema=app.openapi(), statuses=statuses, base=str(request.base_url))
        return HTMLResponse(page, headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"})

    return app


def key_check(key: str | None) -> Callable[..., None]:
    """Return what refuses requests without the key; it takes equally long for every wrong one."""

    def check(
        header: Annotated[str | None, Depends(APIKeyHeader(name="X-API-Key", auto_error=False))],
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
    ) -> None:
        sent = header or (bearer.credentials if bearer else "")
        if key is not None and not hmac.compare_digest(sent.encode(), key.encode()):
            raise RefusedError(
                401,
                "the API key is missing or wrong",
                hint="send the header X-API-Key, or Authorization: Bearer",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return check


async def _unless_gone(request: Request, asking: Coroutine[Any, Any, Answer]) -> Answer:
    """Await an answer for as long as the client is there, whose request was received.

    Raises:
        ClientDisconnect: It left.
    """

    async def leave() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answer = asyncio.ensure_future(asking)
    tasks = (answer, asyncio.ensure_future(leave()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@contextmanager
def _counted(metrics: Metrics, most: int) -> Iterator[dict[str, int]]:
    """Count a request and how it ended; refuse it where too many are under way."""
    start, outcome = time.monotonic(), {"status": 500}
    try:
        with metrics.under_way(most):
            yield outcome
    except RefusedError as error:
        outcome["status"] = error.status
        raise
    except HTTPException as error:
        outcome["status"] = error.status_code
        raise
    except ClientDisconnect:
        outcome["status"] = GONE
        raise HTTPException(GONE, "the client left") from None
    finally:
        metrics.count(outcome["status"], time.monotonic() - start)


def _answer_errors(app: FastAPI) -> None:
    """Let every error be JSON of one form."""

    @app.exception_handler(RefusedError)
    def refuse(_request: Request, refusal: RefusedError) -> Response:
        body = error_body(refusal.message, refusal.hint)
        return Response(body, refusal.status, refusal.headers, "application/json")

    @app.exception_handler(HTTPException)
    def tell(_request: Request, error: HTTPException) -> Response:
        hint = "/docs lists what there is" if error.status_code in (404, 405) else None
        return Response(error_body(str(error.detail), hint), error.status_code, error.headers, "application/json")

    @app.exception_handler(Exception)
    def fail(_request: Request, _error: Exception) -> Response:
        body = error_body("the service failed", "its log says more")
        return Response(body, 500, None, "application/json")


def _description(models: Mapping[str, str], settings: ServiceSettings) -> dict[str, Any]:
    """Return what OpenAPI says of the one request."""
    limits = settings.limits
    error = {"type": "object", "properties": {"message": {"type": "string"}, "hint": {"type": ["string", "null"]}}}
    picture = {"type": "object", "properties": {"seed": {"type": "integer"}, "png": {"type": "string"}}}
    answer = {
        "type": "object",
        "properties": {
            "model": {"type": "string"},
            "pictures": {"type": "array", "items": picture},
            "seen": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }
    form = form_schema(models, limits)
    responses: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "The picture, or JSON with pictures in base64",
            "content": {
                "image/png": {"schema": {"type": "string", "format": "binary"}},
                "application/json": {"schema": answer},
            },
        }
    }
    errors = {"application/json": {"schema": {"type": "object", "properties": {"error": error}}}}
    reasons = {
        400: "The form is malformed",
        401: "The API key is missing or wrong",
        408: "The request did not arrive in time",
        413: f"More than {limits.max_bytes:,} bytes, or a picture of more than {limits.max_pixels:,} pixels",
        415: "Not a form, or a file of another kind",
        422: "A field or file is wrong or missing, or a picture shows nobody",
        500: "The worker failed",
        503: f"More than {limits.max_waiting} requests are under way; Retry-After says when to come back",
        504: f"No picture within {limits.timeout:.0f} seconds",
    }
    responses |= {status: {"description": reason, "content": errors} for status, reason in reasons.items()}
    body = {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    return {"responses": responses, "openapi_extra": {"requestBody": body}, "response_class": Response}


def _page() -> jinja2.Template:
    """Return the page on the service: without scripts, and nothing of it comes from elsewhere."""
    text = Path(__file__).with_name("page.html.jinja").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True).from_string(text)

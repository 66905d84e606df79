"""What is not hot: health, metrics, the list of models, the front page.  A Starlette application."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stanchion._version import __version__
from stanchion.core.call import Operation, new_id
from stanchion.core.errors import InvalidCall, StanchionError, UnknownModel
from stanchion.engine.engine import Engine
from stanchion.gateway.callers.admin import Admin
from stanchion.gateway.callers.door import Door, headers_of
from stanchion.gateway.errors import error_response

_NO_SCRIPTS = "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self'; base-uri 'none'; form-action 'none'"
_OTHERS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"]
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")
_OPERATIONS = "chat/completions, responses, embeddings, completions, moderations"


class Faces(Protocol):
    """What the pages need to know of the gateway."""

    engine: Engine
    door: Door
    admin: Admin
    ready: bool


def pages(gateway: Faces) -> Starlette:
    """Make the application."""

    async def alive(request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    async def ready(request: Request) -> Response:
        status = "ready" if gateway.ready else "draining"
        return JSONResponse({"status": status}, 200 if gateway.ready else 503)

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(gateway.engine.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": await _listed(gateway, request)})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        for each in await _listed(gateway, request):
            if each["id"] == name:
                return JSONResponse(each)
        raise UnknownModel("there is no such model; GET /v1/models lists those there are")

    async def other_method(request: Request) -> Response:
        raise HTTPException(405, headers={"allow": "POST"})  # POST itself is not for us: it is hot

    async def front(request: Request) -> Response:
        language = "zh" if request.headers.get("accept-language", "").startswith("zh") else "en"
        language = request.query_params.get("lang", language)
        page = files("stanchion.gateway").joinpath(f"static/front.{'zh' if language == 'zh' else 'en'}.html")
        text = _filled(
            page.read_text(encoding="utf-8"), request.headers.get("host", ""), gateway.engine.loaded.simulated
        )
        return HTMLResponse(text, headers={"content-security-policy": _NO_SCRIPTS})

    app = Starlette(
        routes=[
            Route("/", front),
            Route("/healthz", alive),
            Route("/readyz", ready),
            Route("/metrics", metrics),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            *gateway.admin.routes,
            *(Route(f"/v1/{path}", other_method, methods=_OTHERS) for path in _OPERATIONS.split(", ")),
        ],
        exception_handlers={StanchionError: _stanchion_error, HTTPException: _http_error},
    )
    app.router.redirect_slashes = False  # a client that follows would send its key once more
    app.add_middleware(_Marked, simulated=lambda: gateway.engine.loaded.simulated)
    return app


async def _listed(gateway: Faces, request: Request) -> list[dict[str, Any]]:
    """Return the models that this caller may ask."""
    headers, peer = headers_of(request.headers.raw), request.client.host if request.client else ""
    admitted = gateway.door.admit(headers, peer, Operation.MODELS)
    return [each for each in await gateway.engine.models() if admitted.may_ask(str(each["id"]))]


def _filled(page: str, host: str, simulated: bool) -> str:  # noqa: FBT001 - three words of one page
    """Return the front page as it stands here."""
    page = page.replace("{version}", __version__)
    page = page.replace("{provider}", "simulated" if simulated else "real")
    return page.replace("{host}", host if _HOST.fullmatch(host) else "127.0.0.1:8080")


async def _stanchion_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StanchionError)  # noqa: S101 - registered for it
    status, headers, body = error_response(error)
    return Response(body, status, {name.decode(): value.decode() for name, value in headers})


async def _http_error(request: Request, error: Exception) -> Response:
    """Say what is wrong with the path or the method, in OpenAI's form."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    path = request.url.path
    if error.status_code == 405:
        said = InvalidCall(f"{request.method} is not for {path}", status=405, code="method_not_allowed")
    elif path.lstrip("/") in (*_OPERATIONS.split(", "), "models"):
        said = InvalidCall(
            f"there is no {path}: the base URL must end in /v1", status=404, code="unknown_path"
        )
    else:
        said = InvalidCall(
            f"there is no such path here; POST /v1/ with {_OPERATIONS}, GET /v1/models, or /v1/files and /v1/batches",
            status=404,
            code="unknown_path",
        )
    response = await _stanchion_error(request, said)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


class _Marked:
    """Says on every page that the simulator answers, if it does."""

    def __init__(self, app: ASGIApp, *, simulated: Callable[[], bool]) -> None:
        self._app = app
        self._simulated = simulated

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a page and add to its headers."""

        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    *message.get("headers", ()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"x-request-id", new_id().encode()),
                ]
                if self._simulated():
                    headers.append((b"x-stanchion-provider", b"simulator"))
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, mark)

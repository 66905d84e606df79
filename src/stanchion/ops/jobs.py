"""/ops/jobs: the page of running batches.  Static: what it shows it asks of /v1/batches, with the key of who looks.

So the page knows nothing that its reader may not know, and needs no door of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'"
)
_FILES = {
    "/ops/jobs": ("jobs.html", b"text/html; charset=utf-8"),
    "/ops/jobs/page.js": ("jobs.js", b"text/javascript; charset=utf-8"),
    "/ops/jobs/page.css": ("jobs.css", b"text/css; charset=utf-8"),
}


class JobsPage:
    """An ASGI application of three files."""

    paths = ("/ops/jobs",)

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, bytes]] = {}

    async def begin(self) -> None:
        """Read the files."""
        self._files = await asyncio.to_thread(_read)

    async def aclose(self) -> None:
        """Nothing is open."""

    async def __call__(self, scope: Mapping[str, Any], receive: object, send: Send) -> None:
        """Serve a file, in the reader's language."""
        del receive
        found = self._files.get(scope["path"]) if scope["method"] in ("GET", "HEAD") else None
        status, body, kind = (200, *found) if found is not None else (404, b"not found\n", b"text/plain")
        body = body.replace(b"{language}", _language(scope)) if kind.startswith(b"text/html") else body
        headers = [
            (b"content-type", kind),
            (b"content-length", b"%d" % len(body)),
            (b"content-security-policy", _POLICY),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-cache"),
            (b"vary", b"accept-language"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        sent = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": sent, "more_body": False})


def _read() -> dict[str, tuple[bytes, bytes]]:
    folder = files("stanchion.ops").joinpath("static")
    return {path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}


def _language(scope: Mapping[str, Any]) -> bytes:
    """Return the language that is asked for, else the browser's."""
    query = bytes(scope.get("query_string", b""))
    if b"lang=" in query:
        return b"zh" if b"lang=zh" in query else b"en"
    accepted = dict(scope["headers"]).get(b"accept-language", b"")
    return b"zh" if accepted.lower().startswith(b"zh") else b"en"

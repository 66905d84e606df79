"""How answers are sent: whole objects, errors, pages of lists, files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from stanchion.core.call import new_id
from stanchion.core.errors import InvalidCall, StanchionError
from stanchion.wire.errors import write_error

Send = Callable[[dict[str, Any]], Awaitable[None]]
_PIECE = 256 * 1024  # bytes sent at once
_encode = msgspec.json.Encoder().encode


class Shown(Protocol):
    """What has a name and can be shown."""

    @property
    def id(self) -> str:
        """Return its id."""
        ...

    def shown(self) -> dict[str, object]:
        """Return it as the API shows it."""
        ...


def page(
    found: Sequence[Shown], query: Mapping[str, list[str]], *, usual: int, most: int
) -> dict[str, object]:
    """Return one page of a list by `after` and `limit`.  Raises InvalidCall."""
    limit, after = query.get("limit", [str(usual)])[0], query.get("after", [""])[0]
    if not limit.isdigit() or not 1 <= int(limit) <= most:
        raise InvalidCall(f"limit must be a number from 1 to {most}", param="limit")
    start = 0
    if after:
        at = next((number for number, each in enumerate(found) if each.id == after), None)
        if at is None:
            raise InvalidCall("after names nothing of this list", param="after")
        start = at + 1
    shown = found[start : start + int(limit)]
    return {
        "object": "list",
        "data": [each.shown() for each in shown],
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
        "has_more": start + len(shown) < len(found),
    }


async def answer(send: Send, shown: Mapping[str, object]) -> None:
    """Send an object."""
    await _send_whole(send, 200, [], _encode(shown))


async def refuse(send: Send, error: StanchionError) -> None:
    """Send an error in OpenAI's form."""
    status = error.status if 400 <= error.status <= 599 else 502
    headers = [(b"x-should-retry", b"false")] if status < 500 else []
    if error.retry_after_s:
        headers.append((b"retry-after", b"%d" % max(1, int(error.retry_after_s))))
    await _send_whole(send, status, headers, write_error(error))


async def _send_whole(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-content-type-options", b"nosniff"),
        (b"x-request-id", new_id().encode()),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_file(send: Send, path: Path) -> None:
    """Send a file piece by piece."""
    size = (await asyncio.to_thread(path.stat)).st_size
    file = await asyncio.to_thread(path.open, "rb")
    with file:
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", b"%d" % size),
            (b"x-content-type-options", b"nosniff"),
            (b"x-request-id", new_id().encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while piece := await asyncio.to_thread(file.read, _PIECE):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})

"""What the tests of filters share: the time, a reader, and errors as a provider makes them."""

from __future__ import annotations

import asyncio

from stanchion.core.call import Call
from stanchion.core.errors import Cut, Refused, Silent, Unreachable
from stanchion.core.reply import Reply
from stanchion.core.service import Service
from stanchion.wire.answers import read_chat_events


def now() -> float:
    return asyncio.get_running_loop().time()


async def answer(service: Service, call: Call) -> Reply:
    """Ask, as a coroutine: a service returns any awaitable, a task wants this."""
    return await service(call)


async def read(reply: Reply, into: list[bytes] | None = None) -> bytes:
    """Read to the end; `into` gets each chunk as it comes."""
    got = [] if into is None else into
    async with reply:
        async for chunk in reply:
            got.append(chunk.raw)
    return b"".join(got)


def text_of(raw: bytes) -> str:
    return "".join(event.text for event in read_chat_events(raw))


def busy(after_s: float | None = None, *, status: int = 429) -> Refused:
    return Refused(
        "busy", status=status, upstream_status=status, code="rate_limit_exceeded", retry_after_s=after_s
    )


def down() -> Refused:
    return Refused("down", status=503, upstream_status=503)


def dead() -> Refused:
    return Refused(
        "no money",
        status=429,
        upstream_status=429,
        code="insufficient_quota",
        retryable=False,
        permanent=True,
    )


def wrong() -> Refused:
    return Refused("your fault", status=400, upstream_status=400, retryable=False, elsewhere=False)


def silent() -> Silent:
    return Silent("no answer")


def unreachable() -> Unreachable:
    return Unreachable("no connection")


def cut() -> Cut:
    return Cut("cut")

"""Servers that answer well, badly or never, and how the tests of the transport ask them."""

from __future__ import annotations

import asyncio

from yarl import URL

from stanchion.core.call import Patience
from stanchion.providers.http import HttpClient
from stanchion.providers.http_answer import HttpAnswer, Limits
from tests.integration.raw_server import RawServer, Visit

BODY = b'{"model":"m"}'


def limits(*, stream: bool, deadline_s: float | None = None, **patience: float) -> Limits:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_s if deadline_s is not None else float("inf")
    return Limits(Patience(**patience), deadline, stream)


async def ask(
    client: HttpClient,
    at: RawServer | str,
    *,
    stream: bool = False,
    deadline_s: float | None = None,
    **patience: float,
) -> HttpAnswer:
    url = at if isinstance(at, str) else f"{at.base_url}/chat/completions"
    return await client.open(
        "POST", URL(url), {}, BODY, limits(stream=stream, deadline_s=deadline_s, **patience)
    )


async def read_all(answer: HttpAnswer) -> bytes:
    parts = []
    while data := await answer.read():
        parts.append(data)
    return b"".join(parts)


async def fetch(client: HttpClient, at: RawServer | str, *, stream: bool, **how: float) -> bytes:
    """Ask and read to the end, whole or in reads."""
    answer = await ask(client, at, stream=stream, **how)
    if not stream:
        return answer.body
    try:
        return await read_all(answer)
    finally:
        answer.abort()


# --- what a server may do ----------------------------------------------------------------------------


async def whole(visit: Visit) -> None:
    visit.say_json(b'{"ok":true}')


async def streamed(visit: Visit) -> None:
    visit.begin_stream()
    for number in range(3):
        visit.say_chunk(b'data: {"n":%d}\n\n' % number)
        await visit.flush()
        await asyncio.sleep(0)
    visit.say_chunk(b"data: [DONE]\n\n")
    visit.end_stream()


async def closes_at_once(visit: Visit) -> None:
    visit.close()


async def resets_at_once(visit: Visit) -> None:
    visit.reset()


async def is_silent(visit: Visit) -> None:
    await visit.until_left()


async def says_half_a_head(visit: Visit) -> None:
    visit.say(b"HTTP/1.1 200 OK\r\ncontent-ty")
    await visit.until_left()


async def trickles_its_head(visit: Visit) -> None:
    for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}":
        visit.say(bytes((byte,)))
        await visit.flush()
        await asyncio.sleep(0.05)


async def says_the_head_only(visit: Visit) -> None:
    visit.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
    await visit.until_left()


async def stalls(visit: Visit) -> None:
    visit.begin_stream()
    visit.say_chunk(b'data: {"n":0}\n\n')
    await visit.until_left()


async def trickles(visit: Visit) -> None:
    visit.begin_stream()
    while visit.is_open:
        visit.say_chunk(b":")
        await visit.flush()
        await asyncio.sleep(0.02)


async def is_cut(visit: Visit) -> None:
    visit.begin_stream()
    visit.say_chunk(b'data: {"n":0}\n\n')
    await visit.flush()
    visit.close()


async def is_cut_below_its_length(visit: Visit) -> None:
    visit.say(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"half":')
    await visit.flush()
    visit.close()


async def resets_in_the_body(visit: Visit) -> None:
    visit.begin_stream()
    visit.say_chunk(b'data: {"n":0}\n\n')
    await visit.flush()
    await asyncio.sleep(0.05)
    visit.reset()


async def lies_about_its_chunks(visit: Visit) -> None:
    visit.begin_stream()
    visit.say_chunk(b'data: {"n":0}\n\n')
    await visit.flush()
    await asyncio.sleep(0.05)
    visit.say(b"zz\r\nno chunk\r\n")
    await visit.until_left()


async def is_no_http(visit: Visit) -> None:
    visit.say(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    visit.close()

"""A raw connection to the simulator, and what the tests of its wire say on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from stanchion.simulator import Simulator

ASKED: Any = [{"role": "user", "content": "Where is my order 20261123? I have been waiting for a week."}]


async def settled(condition: Callable[[], object], within_s: float = 2.0) -> None:
    """Wait until the other end of a socket has noticed."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is in another room and has no event
            await asyncio.sleep(0.005)


def request(
    model: str, *, stream: bool = False, extra: str = "", method: str = "POST", path: str = ""
) -> bytes:
    body = json.dumps({"model": model, "messages": ASKED, "stream": stream}).encode()
    head = (
        f"{method} {path or '/v1/chat/completions'} HTTP/1.1\r\nhost: sim\r\nauthorization: Bearer sk-canary\r\n"
        f"{extra}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Wire:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, sim: Simulator) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", sim.port))

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1]), headers

    async def chunks(self) -> tuple[list[bytes], bool]:
        """The chunks until the end, and whether the end was the terminating chunk."""
        found: list[bytes] = []
        try:
            while size := int((await self.reader.readuntil(b"\r\n")).strip(), 16):
                found.append(await self.reader.readexactly(size))
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
        except asyncio.IncompleteReadError as error:
            return [*found, error.partial], False
        return found, True

    async def rest(self) -> bytes:
        return await self.reader.read()


async def ask(sim: Simulator, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    wire = await Wire.open(sim)
    data = b"" if body is None else json.dumps(body).encode()
    wire.writer.write(
        f"{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {len(data)}\r\n\r\n".encode()
        + data
    )
    status, _ = await wire.head()
    answer = json.loads(await wire.rest())
    wire.writer.close()
    return status, answer

"""A client that sees what libraries hide: the bytes, and whether an answer had its proper end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Answer:
    """What came.  `whole`: the body had its proper end; a connection that broke before it is not whole."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    whole: bool = False
    pieces: list[bytes] = field(default_factory=list)  # the chunks of a chunked body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error: of the body, or the last event of a stream."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            return self.events[-1]["error"]
        return self.json["error"]

    @property
    def events(self) -> list[Any]:
        """The data of a stream's events; [DONE] is left out."""
        return [json.loads(data) for data in self.data if data != "[DONE]"]

    @property
    def data(self) -> list[str]:
        lines = self.body.decode().split("\n")
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    @property
    def done(self) -> bool:
        return self.data[-1:] == ["[DONE]"]

    @property
    def text(self) -> str:
        """The answer of a chat completion, whole or streamed."""
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return self.json["choices"][0]["message"]["content"]
        choices = [choice for event in self.events for choice in event.get("choices", ())]
        return "".join([choice["delta"].get("content") or "" for choice in choices])

    @property
    def is_success(self) -> bool:
        """What a careful client takes for an answer."""
        if self.status != 200 or not self.whole:
            return False
        streamed = self.headers.get("content-type", "").startswith("text/event-stream")
        return self.done and not any("error" in event for event in self.events) if streamed else True


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    async def head(self) -> Answer:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines[1:] if line]
        return Answer(int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in pairs})

    async def piece(self) -> bytes | None:
        """Return the next chunk of a chunked body; None at its proper end.  Raises IncompleteReadError."""
        size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
        found = await self.reader.readexactly(size)
        await self.reader.readexactly(2)
        return found or None

    async def answer(self, *, method: str = "POST") -> Answer:
        """Read one answer to its end, proper or not."""
        found = await self.head()
        length = found.headers.get("content-length")
        if method == "HEAD" or found.status in (204, 304):
            found.whole = True
            return found
        try:
            if length is not None:
                found.body = await self.reader.readexactly(int(length))
            else:
                while (piece := await self.piece()) is not None:
                    found.pieces.append(piece)
            found.whole = True
        except asyncio.IncompleteReadError as error:
            found.pieces.append(error.partial)
        except ConnectionError:
            pass
        found.body = found.body or b"".join(found.pieces)
        return found

    async def is_closed(self, within_s: float = 2.0) -> bool:
        """Wait for the other end to close."""
        try:
            async with asyncio.timeout(within_s):
                await self.reader.read()
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True


def request(
    body: Any,
    *,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Write a request.  `body` is bytes, or what is written as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: gateway", f"content-length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


async def ask(port: int, body: Any, **how: Any) -> Answer:
    """Ask on a connection of its own."""
    async with await Wire.open(port) as wire:
        wire.send(request(body, **how))
        return await wire.answer(method=how.get("method", "POST"))

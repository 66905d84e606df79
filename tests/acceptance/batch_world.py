"""What a batch job is tested against: a provider that counts, whose answers are a function of the request; processes
that can be killed; and the journal's file as it lies on the disk, read without the product's own opening.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections import Counter
from pathlib import Path

import httptools

from stanchion.batch.forms.openai_lines import OpenAILines
from stanchion.rules.row_key import RowKey
from stanchion.stores.journal.records import DATA_BEGIN, HEADER, length_of, unpack

HERE = Path(__file__).parent
_CHAT = "/v1/chat/completions"
_FORM = OpenAILines()
_KEY = RowKey(_FORM.settled)


def row(custom_id: str, text: str) -> bytes:
    """A line of OpenAI's."""
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": _CHAT, "body": body}).encode()


def key_of(line: bytes) -> bytes:
    """The key under which a line's answer is kept."""
    return _KEY(_FORM.content(line))


def key_of_body(body: bytes) -> bytes:
    """The same, of what the provider was asked."""
    return _KEY(b'"%b" %b' % (_CHAT.encode(), body))


def recorded(folder: Path) -> set[bytes]:
    """The keys of the whole records that are in a journal's file, whatever its index says."""
    try:
        raw = (folder / "answers").read_bytes()
    except FileNotFoundError:
        return set()
    keys, at = set[bytes](), DATA_BEGIN
    while length := length_of(raw[at : at + HEADER.size]):
        found = unpack(raw[at : at + length])
        if found is None:
            break
        keys.add(found.key)
        at += length
    return keys


class Upstream:
    """A provider: counts what it is asked by what is asked, answers always the same to the same."""

    def __init__(self, *, latency_s: float = 0.0) -> None:
        self.latency_s = latency_s  # of the slowest; the fastest answers at once
        self.asked: Counter[bytes] = Counter()
        self.answered: set[bytes] = set()
        self.open = 0
        self.open_most = 0
        self._connections = 0
        self.has_asked = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.error_status = 0  # other than 0: everything is refused with it
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Upstream:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def quiet(self) -> None:
        """Wait until nobody is connected any more: then all is counted that a killed process had sent."""
        async with asyncio.timeout(10):
            await self._quiet.wait()

    async def next_asked(self) -> None:
        """Wait until something is asked from now on."""
        self.has_asked.clear()
        await self.has_asked.wait()

    def came(self) -> None:
        """Count a connection."""
        self._connections += 1
        self._quiet.clear()

    def went(self) -> None:
        """Count its end."""
        self._connections -= 1
        if not self._connections:
            self._quiet.set()

    def config(self, path: Path, more: str = "") -> Path:
        """Write settings whose one provider this is."""
        path.write_text(
            f'[providers.here]\npreset = "compatible"\nbase_url = "{self.base_url}"\n'
            f'[prices."here/m"]\ninput = 1.0\noutput = 2.0\n{more}'
        )
        return path

    def reply(self, body: bytes) -> tuple[int, bytes, float]:
        """The status, the answer and its latency: functions of the request alone."""
        mark = hashlib.blake2b(body, digest_size=8).digest()
        text = json.loads(body)["messages"][-1]["content"]
        wait_s = self.latency_s * mark[0] / 255
        if self.error_status or "refuse" in text:
            error = {"message": "not this one", "type": "invalid_request_error", "param": None, "code": "bad"}
            return self.error_status or 400, json.dumps({"error": error}).encode(), wait_s
        message = {"role": "assistant", "content": f"{mark.hex()} {text[::-1]}"}
        answer = {
            "id": f"chatcmpl-{mark.hex()}",
            "object": "chat.completion",
            "created": 1790000000,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": {"prompt_tokens": 10, "completion_tokens": mark[1], "total_tokens": 10 + mark[1]},
        }
        return 200, json.dumps(answer).encode(), wait_s


class _Connection(asyncio.Protocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._upstream.came()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._upstream.went()
        if self._timer is not None:
            self._timer.cancel()
            self._upstream.open -= 1

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body, self._body = b"".join(self._body), []
        upstream = self._upstream
        upstream.asked[body] += 1
        upstream.has_asked.set()
        upstream.open += 1
        upstream.open_most = max(upstream.open_most, upstream.open)
        status, answer, wait_s = upstream.reply(body)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._answer, body, status, answer)

    def _answer(self, body: bytes, status: int, answer: bytes) -> None:
        self._timer = None
        self._upstream.open -= 1
        self._upstream.answered.add(body)
        assert self._transport is not None
        mark = hashlib.blake2b(body, digest_size=6).hexdigest()
        self._transport.write(
            b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\nx-request-id: req_%b\r\ncontent-length: %d\r\n\r\n%b"
            % (status, mark.encode(), len(answer), answer)
        )


class Starter:
    """A process that starts `stanchion`, one at a time; see batch_zygote.py."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self.log = log
        self.number = 0

    @classmethod
    async def begin(cls, log: Path) -> Starter:
        pipe = asyncio.subprocess.PIPE
        script = str(HERE / "batch_zygote.py")
        return cls(await asyncio.create_subprocess_exec(sys.executable, script, stdin=pipe, stdout=pipe), log)

    async def start(self, *arguments: str) -> int:
        """Start the command; return its process's number."""
        assert self._process.stdin is not None
        asked = {"arguments": list(arguments), "log": str(self.log)}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self.number = int(await self._line())
        return self.number

    async def ended(self) -> int:
        """Wait for its end; its exit code, or the negative number of the signal that ended it."""
        return os.waitstatus_to_exitcode(int(await self._line()))

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        return await self._process.stdout.readline()

    async def aclose(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

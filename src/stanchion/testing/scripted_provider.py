"""A provider that plays a script, one entry per try, and counts what it is asked.

It keeps the rules that a real one keeps: it is as patient as the call says, ends by the call's deadline,
raises Cut where a stream does not say its end, and tells the call's trail what it used.  It is a Service and an Endpoint, so it fits under any filter.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence

from stanchion.core.call import Call, Operation
from stanchion.core.chunk import Chunk
from stanchion.core.errors import Cut, DeadlineExceeded, Silent, UpstreamError
from stanchion.core.reply import End, Head, Reply
from stanchion.core.usage import Usage
from stanchion.wire.answers import read_stream, read_whole

_END_WITH_DONE = (Operation.CHAT, Operation.COMPLETIONS)
Step = bytes | float | BaseException  # give these bytes, wait so many seconds, or raise
Entry = BaseException | Sequence[Step]  # an error to raise at once, or the steps of an answer
Script = Entry | Callable[[], Entry]  # a function makes a fresh entry: an error object is raised once


class ScriptedProvider:
    """Plays `script`, one entry per try; after it `forever`, if there is one."""

    def __init__(self, *script: Script, forever: Script | None = None, name: str = "scripted/m") -> None:
        self.name = name
        self.key = name  # as an Endpoint: whose quota it uses
        self.calls: list[Call] = []  # every call, as it arrived
        self.ends: list[End] = []  # of the replies that began
        self.open = 0  # replies that began and did not end
        self.rests_until = 0.0  # as an Endpoint: not ready before this time
        self.full_until = 0.0  # as an Endpoint: its quota is used up before this time
        self.open_most = 0  # as an Endpoint: how many replies may be open; 0 is any number
        self.filled = 0.0  # as an Endpoint: how much of its quota is used
        self._wakes: list[Callable[[], None]] = []
        self._script = list(script)
        self._forever = forever

    @property
    def tries(self) -> list[int]:
        """The number of the try, for every call that arrived."""
        return [call.attempt for call in self.calls]

    @property
    def last_failure(self) -> str:
        """Say that it rests; a script knows no other reason."""
        return "resting" if self.rests_until > asyncio.get_running_loop().time() else ""

    @property
    def in_flight(self) -> int:
        """Count the replies that are open."""
        return self.open

    def ready_in(self, now: float, call: Call | None = None) -> float:
        """Say in how many seconds it could start; `inf` while as many as may be are open."""
        del call
        if self.open_most and self.open >= self.open_most:
            return math.inf
        return max(0.0, self.rests_until - now, self.full_until - now)

    def fill(self) -> float:
        """Say how much of its quota is used."""
        return self.filled

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` when a reply ends, or when the test says so with `wake()`."""
        self._wakes.append(wake)

    def wake(self) -> None:
        """Tell all who watch that it may be ready."""
        for wake in self._wakes:
            wake()

    async def __call__(self, call: Call, /) -> Reply:
        """Play the next entry.  Raises what it holds, or AssertionError if the script is over."""
        self.calls.append(call)
        entry = self._next()
        if isinstance(entry, BaseException):
            raise self._named(entry)
        play = _Play(entry, call, self._named)
        if call.stream:
            reply = Reply(self._head(call), play)
            play.reply = reply
        else:
            self.open += 1
            try:
                reply = await self._whole(play, call)
            except BaseException:
                self.open -= 1
                self.wake()
                raise
            self.open -= 1
        self.open += 1
        return reply.on_end(self._ended)

    def _next(self) -> Entry:
        if not self._script and self._forever is None:
            raise AssertionError(f"the script of {self.name} is over: it was asked {len(self.calls)} times")
        entry = self._script.pop(0) if self._script else self._forever
        assert entry is not None  # noqa: S101 - one of the two, see above
        return entry() if callable(entry) else entry

    def _named(self, error: BaseException) -> BaseException:
        if isinstance(error, UpstreamError):
            error.endpoint = self.name
        return error

    def _head(self, call: Call) -> Head:
        return Head(
            endpoint=self.name, model=call.model, media_type="text/event-stream" if call.stream else ""
        )

    async def _whole(self, play: _Play, call: Call) -> Reply:
        raw = b""
        while True:
            try:
                raw += (await play.__anext__()).raw
            except StopAsyncIteration:
                break
        chunk = Chunk(raw, read_whole(call.operation))
        try:
            usage = chunk.events[0].usage
        except UpstreamError as error:
            raise self._named(error) from None
        if usage is not None:
            call.trail.used(usage)
        return Reply.whole(self._head(call), chunk, usage)

    def _ended(self, end: End, error: BaseException | None) -> None:
        del error
        self.open -= 1
        self.ends.append(end)
        self.wake()


class _Play:
    """The source of one answer."""

    reply: Reply | None = None

    def __init__(
        self, steps: Sequence[Step], call: Call, named: Callable[[BaseException], BaseException]
    ) -> None:
        self._steps = list(steps)
        self._call = call
        self._named = named
        self._begun_at = asyncio.get_running_loop().time()
        self._waits_since = self._begun_at
        self._begun = False  # something was given out
        self._done = False  # the stream said its end
        self._read = read_stream(call.operation)
        self._texts = 0
        self._usage: Usage | None = None
        self._closed = False

    async def __anext__(self) -> Chunk:
        self._waits_since = asyncio.get_running_loop().time()
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, BaseException):
                raise self._named(step)
            if isinstance(step, bytes):
                self._begun = True
                return self._given(step)
            await self._wait(step)
        if not self._done and self._call.stream and self._call.operation in _END_WITH_DONE:
            raise self._named(Cut("the stream ended before it said its end", code="stream_cut"))
        raise StopAsyncIteration

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._steps.clear()
        usage = self._usage or Usage(output=self._texts, estimated=True)
        if self.reply is not None:
            self.reply.usage = usage
            self._call.trail.used(usage)

    def _given(self, raw: bytes) -> Chunk:
        chunk = Chunk(raw, self._read)
        self._done = self._done or raw.endswith(b"data: [DONE]\n\n")
        if self._call.stream and self._call.operation is not Operation.MODELS:
            with contextlib.suppress(UpstreamError):  # a broken event is its reader's to find
                for event in chunk.events:
                    self._texts += bool(event.pieces)
                    self._usage = event.usage or self._usage
        return chunk

    async def _wait(self, seconds: float) -> None:
        """Wait as long as the call is patient."""
        now = asyncio.get_running_loop().time()
        patience = self._call.patience
        until = min(self._begun_at + patience.total_s, self._call.deadline)
        if self._call.stream:
            until = min(until, self._begun_at + patience.first_token_s if not self._begun else math.inf)
            until = min(until, self._waits_since + patience.stall_s if self._begun else math.inf)
        if now + seconds < until:
            await asyncio.sleep(seconds)
            return
        await asyncio.sleep(until - now)
        if asyncio.get_running_loop().time() >= self._call.deadline:
            raise DeadlineExceeded("the call's deadline passed before the answer was complete")
        kind = Cut if self._begun else Silent
        raise self._named(
            kind("the provider did not go on in time", code="stalled" if self._begun else "silent")
        )

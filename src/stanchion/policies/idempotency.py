"""The same idempotency key and body give the same answer, whole or streamed, from one upstream call.

Before: the first call with a key is read by a task of the engine's into a recording; it and all later
ones are answered from the recording, each at its own pace.  A reader that leaves does not end it: the
one who sent a key means to come back.  Another body under the same key is refused.
Stands above all that asks a provider: one key, one call with all its tries.
Weakness: recordings are of this process; behind several processes a key must come back to the same one.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine

import msgspec

from stanchion.core.call import Call
from stanchion.core.chunk import Chunk
from stanchion.core.errors import DeadlineExceeded, KeyReused, StanchionError, Unavailable
from stanchion.core.reply import Head, Reply
from stanchion.core.service import Service

Spawn = Callable[[Coroutine[object, object, None]], object]  # starts a task the engine owns


class IdempotencyOptions(msgspec.Struct, frozen=True):
    """How long and how much is remembered."""

    life_s: float = 600.0  # seconds after its end that an answer can be asked for again
    most_bytes: int = 64 * 1024 * 1024  # of all recordings; when full the oldest finished go first
    most_keys: int = 10_000


class _Recording:
    """What came of one call so far."""

    def __init__(self, fingerprint: bytes) -> None:
        self.fingerprint = fingerprint
        self.head: Head | None = None
        self.chunks: list[Chunk] = []
        self.size = 0  # bytes
        self.error: BaseException | None = None
        self.ended_at: float | None = None
        self._changed = asyncio.Event()

    def change(self) -> None:
        """Wake all who wait for more."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Wait for more.  Bounded by the recorded call, which has a deadline."""
        await self._changed.wait()

    async def wait_until(self, deadline: float) -> None:
        """Wait for more, as long as the reader has.  Raises DeadlineExceeded."""
        if math.isinf(deadline):
            return await self.wait()
        try:
            async with asyncio.timeout_at(deadline):
                await self.wait()
        except TimeoutError:
            raise DeadlineExceeded("the call's deadline passed before the answer was complete") from None

    async def replay(self, deadline: float) -> AsyncGenerator[Chunk, None]:
        """Hand out all chunks from the first on, as they come.  `deadline` is the reader's own."""
        position = 0
        while True:
            while position < len(self.chunks):
                yield self.chunks[position]
                position += 1
            if self.error is not None:
                raise self.error
            if self.ended_at is not None:
                return
            await self.wait_until(deadline)


class Idempotency:
    """Recordings by caller and key."""

    def __init__(self, options: IdempotencyOptions, spawn: Spawn) -> None:
        self._options = options
        self._spawn = spawn
        self._recordings: OrderedDict[tuple[str, str], _Recording] = OrderedDict()
        self._size = 0

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Answer from the recording of the call's key.  Raises KeyReused.  Cancel: the recording goes on."""
        if call.idempotency_key is None:
            return service(call)
        return self._recorded(call, call.idempotency_key, service)

    async def _recorded(self, call: Call, name: str, service: Service) -> Reply:
        now = asyncio.get_running_loop().time
        self._forget(now())
        key = (call.caller, name)
        fingerprint = hashlib.sha256(call.operation.path.encode() + b"\0" + call.body.raw).digest()
        recording = self._recordings.get(key)
        if recording is None:
            if len(self._recordings) >= self._options.most_keys:
                raise Unavailable("too many idempotency keys are in use", retry_after_s=1.0)
            recording = self._recordings[key] = _Recording(fingerprint)
            self._spawn(self._record(key, recording, call, service))
        elif recording.fingerprint != fingerprint:
            raise KeyReused("this idempotency key was used with another request body")
        while recording.head is None and recording.error is None:
            await recording.wait()
        if recording.head is None:
            assert recording.error is not None  # noqa: S101 - the loop above
            raise recording.error
        return Reply(recording.head, recording.replay(call.deadline))

    async def _record(
        self, key: tuple[str, str], recording: _Recording, call: Call, service: Service
    ) -> None:
        """Read the call's reply to its end."""
        try:
            async with await service(call) as reply:
                await reply.first()
                recording.head = reply.head
                recording.change()
                async for chunk in reply:
                    recording.chunks.append(chunk)
                    recording.size += len(chunk.raw)
                    self._size += len(chunk.raw)
                    recording.change()
        except (StanchionError, asyncio.CancelledError) as error:
            # a failure is told to all who wait and not kept: the same key may try again
            cancelled = isinstance(error, asyncio.CancelledError)
            recording.error = Unavailable("shutting down") if cancelled else error
            self._drop(key)
            if cancelled:
                raise
        except BaseException as error:
            recording.error = error
            self._drop(key)
            raise
        finally:
            recording.ended_at = asyncio.get_running_loop().time()
            recording.change()

    def _drop(self, key: tuple[str, str]) -> None:
        gone = self._recordings.pop(key, None)
        if gone is not None:
            self._size -= gone.size

    def _forget(self, now: float) -> None:
        """Drop finished recordings that are too old, or too many bytes."""
        options = self._options
        for key, recording in list(self._recordings.items()):
            ended_at = recording.ended_at
            old = ended_at is not None and now - ended_at > options.life_s
            full = self._size > options.most_bytes or len(self._recordings) >= options.most_keys
            if not old and not full:
                break
            if ended_at is not None:
                self._drop(key)

"""One connection to Redis for all who ask: questions that come at the same time go out together.

Why not redis-py's pool, a connection per question: a caller that is cancelled tears its connection down there
and leaves the answer unknown, so what was taken would stay taken; and a round trip each costs several times the
processor time (measured 2026-11: see docs/decisions/0022).  Here a caller only waits for a future.  One task
writes all waiting questions at once and reads their answers in order; it lives until `aclose`, which awaits it.

Every wait is bounded by `timeout_s`: connecting, each write, each read.  When one fails, all who wait get
StoreLost, and the next question connects anew.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from stanchion.stores.protocols import StoreLost

_TOGETHER_MOST = 128  # questions in one write: more would hold up the event loop while they are packed
_WAITING_MOST = 20_000  # beyond it a question is refused: the server is too slow for what is asked
_CLOSE_S = 2.0

Argument = str | bytes | int | float


class Script:
    """A Lua script of this package."""

    def __init__(self, name: str) -> None:
        self.source = files("stanchion.stores.redis").joinpath(f"{name}.lua").read_text(encoding="utf-8")
        self.digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


def _nothing(answer: Any) -> None:
    """Nobody is left to care."""
    del answer


class _Question:
    __slots__ = ("future", "left", "script", "words")

    def __init__(
        self,
        script: Script,
        words: Sequence[Argument],
        future: asyncio.Future[Any],
        left: Callable[[Any], None],
    ) -> None:
        self.script = script
        self.words = words
        self.future = future
        self.left = left

    def answered(self, answer: Any) -> None:
        if self.future.done():  # the caller was cancelled
            self.left(answer)
        elif isinstance(answer, ResponseError):
            self.future.set_exception(StoreLost(f"redis: {answer}"))
        else:
            self.future.set_result(answer)

    def lost(self, where: str, error: BaseException) -> None:
        if not self.future.done():
            lost = StoreLost(f"{where} gave no answer ({type(error).__name__})")
            lost.__cause__ = error
            self.future.set_exception(lost)


class Wire:
    """Runs scripts at one server.  Belongs to the event loop in which it is first used."""

    def __init__(self, url: str, *, timeout_s: float = 1.0) -> None:
        """Read the address.  Raises ValueError where it is wrong; the text may show a password."""
        if url.startswith("valkey"):
            url = "redis" + url.removeprefix("valkey")
        given: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
        given.update(parse_url(url))
        kind: type[AbstractConnection] = given.pop("connection_class", Connection)
        self.where = f"redis at {given.get('path') or given.get('host', 'localhost')}"
        self._connection: Any = kind(**given, protocol=2, retry=Retry(NoBackoff(), 0))
        self._waiting: deque[_Question] = deque()
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        words: Sequence[Argument],
        left: Callable[[Any], None] = _nothing,
    ) -> Any:
        """Run a script and return its answer.  `left` is given the answer when the caller was cancelled."""
        future = asyncio.get_running_loop().create_future()
        self.ask(script, keys, words, future, left)
        return await future

    def ask(
        self,
        script: Script,
        keys: Sequence[str],
        words: Sequence[Argument],
        future: asyncio.Future[Any] | None = None,
        left: Callable[[Any], None] = _nothing,
    ) -> None:
        """As `run`, without waiting; raises StoreLost only when it cannot even be queued."""
        if self._closed:
            raise StoreLost(f"{self.where} was closed")
        if len(self._waiting) >= _WAITING_MOST:
            raise StoreLost(f"{self.where} is too slow: {_WAITING_MOST} questions wait")
        loop = asyncio.get_running_loop()
        if future is None:
            future = loop.create_future()
            future.cancel()  # nobody waits for it
        self._waiting.append(_Question(script, [len(keys), *keys, *words], future, left))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._work(), name="stanchion-redis")
        self._bell.set()

    async def aclose(self) -> None:
        """Send what is waiting, then close."""
        self._closed = True
        self._bell.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_CLOSE_S)
            self._task.cancel()
            await asyncio.wait([self._task])
        with suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=True)

    async def _work(self) -> None:
        """Write and read until closed.  Waiting for a question has no bound: idle is idle."""
        asked = list[_Question]()
        try:
            while self._waiting or not self._closed:
                if not self._waiting:
                    self._bell.clear()
                    await self._bell.wait()
                    continue
                asked = [self._waiting.popleft() for _ in range(min(len(self._waiting), _TOGETHER_MOST))]
                try:
                    await self._exchange(asked)
                except (RedisError, OSError, EOFError) as error:
                    await self._connection.disconnect(nowait=True)
                    asked.extend(self._waiting)  # they would only wait for the same
                    self._waiting.clear()
                    for question in asked:
                        question.lost(self.where, error)
        finally:
            for question in (*asked, *self._waiting):
                question.lost(self.where, asyncio.CancelledError())

    async def _exchange(self, asked: Sequence[_Question]) -> None:
        """Ask all and hand out the answers."""
        connection = self._connection
        await connection.connect()
        if await connection.can_read():  # it was closed from there, or is out of step
            await connection.disconnect(nowait=True)
            await connection.connect()
        await connection.send_packed_command(
            connection.pack_commands([("EVALSHA", each.script.digest, *each.words) for each in asked])
        )
        unknown = list[_Question]()
        for question in asked:
            answer = await self._read()
            if isinstance(answer, NoScriptError):
                unknown.append(question)  # the server is new or forgot; it did nothing
            else:
                question.answered(answer)
        if unknown:
            await connection.send_packed_command(
                connection.pack_commands([("EVAL", each.script.source, *each.words) for each in unknown])
            )
            for question in unknown:
                question.answered(await self._read())

    async def _read(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as error:
            return error

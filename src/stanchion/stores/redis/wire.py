"""One connection to Redis for all who ask: questions that come at the same time go out together.

Why not redis-py's pool, a connection per question: a caller that is cancelled tears its connection down there
and leaves the answer unknown, so what was taken would stay taken; and a round trip each costs several times the
processor time (measured 2026-11: see docs/decisions/0022).  Here a caller only waits for a future.  One task
writes all waiting questions at once and reads their answers in order; it lives until `aclose`, which awaits it.

Connecting, writing and reading all answers together take at most `timeout_s`.  When that fails, all who wait get
StoreLost, and the next question connects anew.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from stanchion.stores.protocols import StoreLost
from stanchion.stores.question import Question, heard, unheard

_TOGETHER_MOST = 128  # questions in one write: more would hold up the event loop while they are packed
_WAITING_MOST = 20_000  # beyond it a question is refused: the server is too slow for what is asked
_CLOSE_S = 2.0

Argument = str | bytes | int | float


class Script:
    """A Lua script of this package; of several files, one behind the other."""

    def __init__(self, *names: str) -> None:
        room = files("stanchion.stores.redis")
        self.source = "".join([room.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in names])
        self.digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class _Asked(NamedTuple):
    script: Script
    words: Sequence[Argument]  # how many keys, the keys, the arguments


class Wire:
    """Runs scripts at one server.  Belongs to the event loop in which it is first used."""

    def __init__(self, url: str, *, timeout_s: float = 1.0, users: int = 1) -> None:
        """Read the address.  Raises ValueError where it is wrong; the text may show a password.

        `users`: so many stores share it, and it closes when the last of them does.
        """
        if url.startswith("valkey"):
            url = "redis" + url.removeprefix("valkey")
        # one timeout over a whole exchange costs a fifth less of our time than redis-py's own over each read
        given: dict[str, Any] = {
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "socket_keepalive": True,
        }
        given.update(parse_url(url))
        kind: type[AbstractConnection] = given.pop("connection_class", Connection)
        self.where = f"redis at {given.get('path') or given.get('host', 'localhost')}"
        self._connection: Any = kind(**given, protocol=2, retry=Retry(NoBackoff(), 0))
        self._timeout_s = timeout_s
        self._waiting: deque[Question[_Asked]] = deque()
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._users = users

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        words: Sequence[Argument],
        left: Callable[[Any], None] = unheard,
    ) -> Any:
        """Run a script and return its answer.  `left` is given the answer when the caller was cancelled."""
        future = asyncio.get_running_loop().create_future()
        self.ask(script, keys, words, future, left)
        return await heard(future, left)

    def ask(
        self,
        script: Script,
        keys: Sequence[str],
        words: Sequence[Argument],
        future: asyncio.Future[Any] | None = None,
        left: Callable[[Any], None] = unheard,
    ) -> None:
        """As `run`, without waiting; raises StoreLost only when it cannot even be queued."""
        if self._closed:
            raise StoreLost(f"{self.where} was closed")
        if len(self._waiting) >= _WAITING_MOST:
            raise StoreLost(f"{self.where} is too slow: {_WAITING_MOST} questions wait")
        asked = _Asked(script, [len(keys), *keys, *words])
        self._waiting.append(Question(asked, future, left))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work(), name="stanchion-redis")
        self._bell.set()

    async def aclose(self) -> None:
        """Send what is waiting, then close."""
        self._users -= 1
        if self._users > 0:
            return
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
        asked: list[Question[_Asked]] = []
        try:
            while self._waiting or not self._closed:
                if not self._waiting:
                    self._bell.clear()
                    await self._bell.wait()
                    continue
                asked = [self._waiting.popleft() for _ in range(min(len(self._waiting), _TOGETHER_MOST))]
                asked = [question for question in asked if not question.void]
                try:
                    async with asyncio.timeout(self._timeout_s):
                        await self._exchange(asked)
                except (RedisError, OSError, EOFError) as error:
                    await self._connection.disconnect(nowait=True)
                    asked.extend(self._waiting)  # they would only wait for the same
                    self._waiting.clear()
                    for question in asked:
                        question.lost(f"{self.where} gave no answer ({type(error).__name__})", error)
        finally:
            for question in (*asked, *self._waiting):
                question.lost(f"{self.where} was closed")

    async def _exchange(self, asked: Sequence[Question[_Asked]]) -> None:
        """Ask all and hand out the answers."""
        connection = self._connection
        await connection.connect()
        if await connection.can_read():  # it was closed from there, or is out of step
            await connection.disconnect(nowait=True)
            await connection.connect()
        await connection.send_packed_command(
            connection.pack_commands(
                [("EVALSHA", each.asked.script.digest, *each.asked.words) for each in asked]
            )
        )
        unknown, refused = list[Question[_Asked]](), False
        for question in asked:
            answer = await self._read()
            if isinstance(answer, NoScriptError):
                unknown.append(question)  # the server is new or forgot; it did nothing
            else:
                refused |= _answered(question, answer)
        if unknown:
            await connection.send_packed_command(
                connection.pack_commands(
                    [("EVAL", each.asked.script.source, *each.asked.words) for each in unknown]
                )
            )
            for question in unknown:
                refused |= _answered(question, await self._read())
        if refused:  # such as a primary that became a replica: the address may lead elsewhere by now
            await connection.disconnect(nowait=True)

    async def _read(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as error:
            return error


def _answered(question: Question[_Asked], answer: Any) -> bool:
    """Hand out an answer; returns whether the server refused."""
    refused = isinstance(answer, ResponseError)
    if refused:
        question.lost(f"redis refused: {answer}")
    else:
        question.answered(answer)
    return refused

"""One answer of a provider, from its headers to its end: every wait for it is bounded.

Beside `http.py` the only place that knows the client library (aiohttp).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping

import aiohttp
import msgspec

from stanchion.core.call import Patience
from stanchion.core.clock import Clock
from stanchion.core.errors import Cut, DeadlineExceeded, Silent, UpstreamError
from stanchion.providers.http_reader import NoBody, Reader

_DRAIN_S = 0.2  # seconds: the terminating chunk comes with the last event, or not at all
log = logging.getLogger(__name__)


class Limits(msgspec.Struct, frozen=True, gc=False):
    """The time one attempt has."""

    patience: Patience
    deadline: float  # of the whole call, absolute on the loop's clock
    stream: bool  # whether the first byte, and each read after it, is bounded too


class HttpAnswer:
    """An answer whose headers are there.  Read it whole or in reads; at its end it gives itself back."""

    __slots__ = (
        "_alarm",
        "_begun",
        "_clock",
        "_ends",
        "_limits",
        "_most",
        "_started_at",
        "_waits_since",
        "body",
        "reader",
        "response",
    )

    response: aiohttp.ClientResponse
    body: bytes  # of a whole answer
    reader: Reader | NoBody  # of a stream

    def __init__(self, limits: Limits, clock: Clock, most: int) -> None:
        self._limits = limits
        self._clock = clock
        self._started_at = clock.now()
        self._most = most
        self._ends = min(self._started_at + limits.patience.total_s, limits.deadline)
        self._begun = False
        self._alarm = 0
        self._waits_since = 0.0  # when the reader began to wait, if it waits

    def first_byte_until(self) -> float:
        """Say until when the first byte must be there."""
        if not self._limits.stream:
            return self._ends
        return min(self._ends, self._started_at + self._limits.patience.first_token_s)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names in any case."""
        return self.response.headers

    async def read_whole(self) -> bytes:
        """Read the body to its end.  Raises Cut, or DeadlineExceeded.  Cancel: the socket is closed."""
        try:
            with self._clock.timeout_at(self._ends):
                return await self.read_body()
        except TimeoutError:
            raise self.timed_out() from None

    async def read_body(self) -> bytes:
        """Read the body to its end.  The caller bounds the time.  Raises Cut.  Cancel: the socket is closed."""
        content, size = self.response.content, 0
        parts: list[bytes] = []
        try:
            while not content.at_eof():
                parts.append(await content.readany())
                self._begun = True
                size += len(parts[-1])
                if size > self._most:
                    raise Cut(f"the answer is longer than {self._most} bytes", code="answer_too_long")
        except (aiohttp.ClientError, OSError) as error:
            self.abort()
            raise Cut("the connection broke in the middle of the answer", code="reset_in_answer") from error
        except BaseException:
            self.abort()
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def opened(self, response: aiohttp.ClientResponse) -> None:
        """Note that the headers are there."""
        self.response = response
        if self._limits.stream:
            self.reader = Reader.adopt(response) or NoBody()

    async def read(self) -> bytes:
        """Return the next network read, b"" at the end.

        Raises Silent before the first byte and Cut after it, if none comes in time or the connection
        breaks; DeadlineExceeded.  Cancel: the socket is closed.  `EventStream` does the same in parts,
        without a coroutine.
        """
        try:
            while (data := self.reader.take()) is None:
                await self.more()
        except BaseException as error:
            failure = self.broken(error)
            if failure is error:
                raise
            raise failure from error
        if data:
            self.begin()
        return data

    def begin(self) -> None:
        """Note that data came: from the first on, the wait between two reads is bounded."""
        if not self._begun:
            self._begun = True
            self._clock.take_back(self._alarm)
            self._alarm = self._clock.set(self._next_check(self._clock.now()), self._check)

    def more(self) -> Awaitable[None]:
        """Return what to await before the next `reader.take()`, bounded in time.

        Who gets an error from `take` calls `broken`; who is cancelled calls `abort`.
        """
        self._waits_since = self._clock.now()
        if not self._alarm:
            self._alarm = self._clock.set(self.first_byte_until(), self._check)
        return self.reader.more()

    def broken(self, error: BaseException) -> BaseException:
        """Close the socket, and return the error that says what happened."""
        self.abort()
        if isinstance(error, TimeoutError):
            return self.timed_out()
        if isinstance(error, (aiohttp.ClientError, OSError)):
            return Cut("the connection broke in the middle of the answer", code="reset_in_answer")
        return error

    def _next_check(self, since: float) -> float:
        return min(self._ends, since + self._limits.patience.stall_s)

    def _check(self) -> None:
        """Look whether the read that waits waits too long; one alarm serves all reads of an answer."""
        now = self._clock.now()
        if now < self._ends:
            if not self.reader.waits:
                due = self._next_check(now)
            else:
                due = self._next_check(self._waits_since) if self._begun else self.first_byte_until()
            if now < due:
                self._alarm = self._clock.set(due, self._check)
                return
        self.response.content.set_exception(TimeoutError("no data in time"))
        self.response.close()

    def timed_out(self) -> UpstreamError | DeadlineExceeded:
        """Make the error of a wait that was too long."""
        now = self._clock.now()
        if now >= self._limits.deadline:
            return DeadlineExceeded("the call's deadline passed before the answer was complete")
        ended = now >= self._ends
        if not self._begun:
            code = "attempt_timeout" if ended else "first_token_timeout"
            return Silent("the provider did not answer in time", code=code)
        code = "attempt_timeout" if ended else "stalled"
        return Cut("the provider stopped in the middle of the answer", code=code)

    async def drain(self) -> None:
        """Take the end of a body whose content is known to be complete, so its connection can be used again."""
        try:
            with self._clock.timeout_at(self._clock.now() + _DRAIN_S):
                while await self.response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            log.debug("drain.gave_up: %s", type(error).__name__)  # only the connection is lost
        finally:
            self.abort()

    def abort(self) -> None:
        """End here: give the connection back if the body had ended, else close the socket now."""
        if self._alarm:
            self._clock.take_back(self._alarm)
        self.response.close()

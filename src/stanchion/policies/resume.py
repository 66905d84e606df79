"""A stream that is cut after delivery began: ask again and go on where it stopped, or say that it was cut.

After the first chunk, in mode `verify`: remembers what was delivered.  At a cut: asks again; if the new
answer begins with exactly what was delivered, the reader gets the rest; else the cut is raised.
Mode `error` raises the cut.  `auto` verifies where the answer is repeatable (temperature 0, or a seed).
Stands above retry: the new try has the retry rules; and below fallback: another model is another answer.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Iterable
from typing import Any, Literal

import msgspec

from stanchion.core.call import Call, Operation
from stanchion.core.chunk import Chunk, Event
from stanchion.core.errors import Cut, StanchionError
from stanchion.core.reply import Reply
from stanchion.core.service import Service
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics
from stanchion.rules.prefix import Differs, PrefixMatch
from stanchion.wire import continued, sse
from stanchion.wire.answers import read_stream

log = logging.getLogger(__name__)
_RESUMABLE = (Operation.CHAT, Operation.COMPLETIONS)


class ResumeOptions(msgspec.Struct, frozen=True):
    """What to do when a stream is cut after its first chunk."""

    mode: Literal["auto", "verify", "error"] = "auto"
    most: int = 2  # how often one stream may be taken up again


class Resume:
    """Takes up cut streams where the answer can be verified."""

    def __init__(self, options: ResumeOptions, metrics: Metrics) -> None:
        self._options = options
        self._metrics = metrics

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Pass the call on; stand by if its stream can be resumed."""
        options = call.option(ResumeOptions, self._options)
        if not call.stream or not _verifies(options, call):
            return service(call)
        return self._stood_by(call, service, options)

    async def _stood_by(self, call: Call, service: Service, options: ResumeOptions) -> Reply:
        reply = await service(call)
        stream = _Stream(self, call, service, options)
        # a reply of its own: the first one ends, and is told so, when it is cut.  Over the first one, so
        # that this is closed too where nobody reads: a generator that never began closes nothing
        stream.outer = Reply(reply.head, reply).through(lambda _: stream.chunks(reply))
        return stream.outer

    def decided(self, call: Call, decision: str, code: str | None) -> None:
        """Count and log what became of a cut."""
        self._metrics.resumes.of(decision).inc()
        log_event(log, logging.INFO, "resume.decided", id=call.id, decision=decision, code=code)


def _verifies(options: ResumeOptions, call: Call) -> bool:
    if call.operation not in _RESUMABLE or options.mode == "error":
        return False
    fields = call.body.fields
    if fields.get("n") not in (None, 1):
        return False  # several answers at once are not followed
    return options.mode == "verify" or fields.get("temperature") == 0 or fields.get("seed") is not None


class _Stream:
    """One stream that may be taken up again."""

    outer: Reply

    def __init__(self, owner: Resume, call: Call, service: Service, options: ResumeOptions) -> None:
        self._owner = owner
        self._call = call
        self._service = service
        self._most = options.most
        self._delivered: defaultdict[str, list[str]] = defaultdict(list)
        self._who: dict[str, Any] = {}
        self._repeated = set[str]()  # what the answer followed now has said once
        self._read = read_stream(call.operation)

    async def chunks(self, reply: Reply) -> AsyncGenerator[Chunk, None]:
        """Hand on the first stream; at a cut, the verified rest of another."""
        match: PrefixMatch | None = None
        cut = Cut("the stream was cut")
        for taken in range(self._most + 1):
            try:
                async with reply:
                    async for chunk in reply:
                        shown = chunk if match is None else self._new(match, chunk)
                        if shown is not None:
                            self._remember(shown.events)
                            yield shown  # noqa: ASYNC119 - a Reply closes its source
                if match is not None:
                    self._owner.decided(self._call, "resumed", None)
                return
            except Cut as error:
                cut = error
            except Differs:
                self._owner.decided(self._call, "differs", cut.code)
                raise cut from None
            finally:
                self.outer.usage = reply.usage
            if taken < self._most:
                self._repeated.clear()
                match = PrefixMatch({where: "".join(texts) for where, texts in self._delivered.items()})
                reply = await self._again(cut)
        self._owner.decided(self._call, "spent", cut.code)
        raise cut

    async def _again(self, cut: Cut) -> Reply:
        """Ask again.  Raises the cut if nobody answers."""
        self._call.trail.resumed += 1
        try:
            return await self._service(self._call)
        except StanchionError as error:
            self._owner.decided(self._call, "refused", error.code)
            raise cut from error

    def _remember(self, events: Iterable[Event]) -> None:
        for event in events:
            if not self._who:
                self._who = continued.identity(event.data)
            for where, text in event.pieces:
                self._delivered[where].append(text)
            for where, text in continued.marks(event.data):
                self._delivered.setdefault(where, [text])  # said once, however often it is repeated

    def _new(self, match: PrefixMatch, chunk: Chunk) -> Chunk | None:
        """Return what is new in a chunk of a second answer.  Raises Differs."""
        raw = b"".join([self._new_in(match, event) for event in chunk.events])
        if sse.DONE in chunk.raw:
            if not match.caught_up:
                raise Differs("the second answer is shorter")
            raw += sse.write(sse.DONE)
        return Chunk(raw, self._read) if raw else None

    def _new_in(self, match: PrefixMatch, event: Event) -> bytes:
        if match.caught_up:
            return continued.renamed(event.data, self._who)
        marks = [mark for mark in continued.marks(event.data) if mark[0] not in self._repeated]
        self._repeated.update(where for where, _ in marks)
        new = match.feed((*event.pieces, *marks))
        if match.caught_up:
            try:
                return continued.rest(new, self._who)
            except ValueError as error:
                raise Differs(str(error)) from None
        if new:
            raise Differs("the second answer is shorter, or another")
        return b""

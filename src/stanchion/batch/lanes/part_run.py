"""The life of one part at the provider: up, begun, looked at until it ends, down.

Each step is written down before the next begins, so that whoever takes the job up again goes on there.  The one that
costs money is the creation: where nobody knows whether it happened, the batch is looked for by the part's id among
those that exist, and never created twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from stanchion.batch.lanes.parts import Part, PartFolder
from stanchion.batch.lanes.room import Room
from stanchion.core.errors import NotYet, Refused, Unavailable, UpstreamError
from stanchion.engine.batch_place import BatchApi, BatchPlace, is_final
from stanchion.observe.logs import log_event
from stanchion.rules.backoff import backoff_s
from stanchion.wire.batch import BatchObject

log = logging.getLogger(__name__)
_Got = TypeVar("_Got")
_SLOWER = 12  # times slower are looks at a batch at last than at first
_WAIT_MOST_S = 60.0  # between two tries of the same step
_PAGES_MOST = 50  # of the list of batches that are looked through
METADATA = "stanchion_part"


class BatchLaneOptions(msgspec.Struct, frozen=True):
    """How a batch lane goes on."""

    deadline_at: float = 0.0  # seconds since 1970; 0: no deadline
    rescue_s: float = (
        1800.0  # seconds before the deadline at which batches are ended and the rest is asked at once
    )
    poll_s: float = 0.0  # seconds between two looks at a batch, at first; 0: as the provider's settings say
    poll_most_s: float = 0.0  # at last; 0: twelve times as many
    lost_most_s: float = 26 * 3600.0  # seconds after which a batch that does not end is given up
    cancel_most_s: float = 600.0  # seconds that a cancelled batch may take to end
    window_s: float = 24 * 3600.0  # seconds that a batch may take
    older_only: bool = False  # only what an earlier run has sent is taken; no new batch is begun
    tries: int = 2  # times a row may be in a batch, where the deadline leaves the time for it


class GivenUp(Exception):
    """The provider's Batch API does not take this part; the message says why."""


class PartRun:
    """Moves one part on.  All waits end at the latest at `lost_most_s`, or when the deadline nears."""

    def __init__(
        self,
        folder: PartFolder,
        part: Part,
        place: BatchPlace,
        api: BatchApi,
        options: BatchLaneOptions,
        seen: dict[str, BatchObject],
    ) -> None:
        """`seen` is told by the part's id how its batch was when it was last looked at."""
        self._folder = folder
        self._part = part
        self._place = place
        self.api = api
        self._options = options
        self._until = time.time() + options.lost_most_s
        self._poll_s = options.poll_s or place.poll_s
        self._poll_most_s = options.poll_most_s or _SLOWER * self._poll_s
        self._seen = seen

    async def send(self, uploads: asyncio.Semaphore) -> None:
        """Upload the part and begin its batch, as far as that is not done yet.  Raises GivenUp, UpstreamError."""
        part, api = self._part, self.api
        if not part.file_id:
            form = self._folder.path(part, "form")
            async with uploads:
                part.file_id = await self._patiently(lambda: api.upload(form, part.boundary))
            part.key = api.key
            await self._save()
        if part.stage == "written":
            part.stage = "creating"
            await self._save()
            unsure = False
        else:
            unsure = part.stage == "creating"  # we were killed meanwhile
        if part.stage == "creating":
            await self._begun(await self._create(unsure=unsure))

    async def enter(self, room: Room) -> None:
        """Wait until the part's tokens may wait at the provider.  Raises GivenUp."""
        now = time.time()
        until = (
            self._options.deadline_at - self._options.rescue_s if self._options.deadline_at else self._until
        )
        try:
            await room.enter(self._part.tokens, max(0.0, min(until, self._until) - now))
        except TimeoutError:
            raise GivenUp("too much waits at the provider already") from None

    async def again(self, failed: int) -> None:
        """Prepare another batch over the same file: the one before failed since too much waits.  Raises GivenUp."""
        self._part.stage, self._part.batch_id, self._part.id_again = "written", "", self._part.id_again + 1
        await self._save()
        if self.is_late() or time.time() > self._until:
            raise GivenUp("too much waits at the provider already")
        await self._sleep(min(_WAIT_MOST_S, self._poll_s * 2.0 ** min(failed - 1, 10)))

    async def ended(self) -> BatchObject:
        """Wait until the batch has ended; it is ended by us when the deadline nears.  Raises GivenUp."""
        options, part = self._options, self._part
        wait_s, cancelled_at = self._poll_s, 0.0
        while True:
            batch = await self._patiently(lambda: self.api.get(part.batch_id))
            self._seen[part.id] = batch
            if batch.ended:
                return batch
            now = time.time()
            if not cancelled_at and self.is_late():
                cancelled_at = now
                await self._cancel()
                wait_s = self._poll_s
            if cancelled_at and now - cancelled_at > options.cancel_most_s:
                raise GivenUp("the batch did not end although it was cancelled")
            if now > max(part.created_at, 1) + options.lost_most_s:
                raise GivenUp(f"the batch did not end within {options.lost_most_s / 3600:.0f} h")
            await self._sleep(wait_s)
            wait_s = min(self._poll_most_s, wait_s * 1.5)

    async def fetch(self, file_id: str | None, to: Path) -> bool:
        """Download a file of the batch; False if it has none.  Raises GivenUp."""
        if not file_id:
            return False

        async def once() -> None:
            with to.open("wb") as file:
                await self.api.download(file_id, file)

        await self._patiently(once)
        return True

    async def tidy(self, batch: BatchObject) -> None:
        """Remove the files at the provider: everything of them is here.  Whether that works is no matter."""
        for file_id in (batch.output_file_id, batch.error_file_id, self._part.file_id):
            if file_id:
                try:
                    await self.api.delete(file_id)
                except (UpstreamError, Unavailable) as error:
                    log_event(log, logging.INFO, "batch.file_left", file=file_id, code=error.code)

    def is_late(self) -> bool:
        """Say whether the deadline is so near that the rest must be asked at once."""
        deadline_at = self._options.deadline_at
        return deadline_at > 0 and time.time() >= deadline_at - self._options.rescue_s

    async def _create(self, *, unsure: bool) -> BatchObject:
        """Begin the batch, or find the one that was begun."""
        part = self._part
        url = self._place.url(part.asks)
        failed = 0
        while True:
            try:
                if unsure:
                    found = await self._find() or await self._find_later()
                    if found is not None:
                        return found
                return await self.api.create(part.file_id, url, {METADATA: self._mark})
            except (UpstreamError, Unavailable) as error:
                failed += 1
                unsure = True
                await self._bear(error, failed)

    async def _find_later(self) -> BatchObject | None:
        """Look once more: a provider may list what it made a moment later."""
        await self._sleep(self._poll_s)
        return await self._find()

    async def _find(self) -> BatchObject | None:
        """Look among the provider's batches for the one of this part."""
        after = ""
        for _ in range(_PAGES_MOST):
            page = await self.api.page(after)
            for batch in page.data:
                if (batch.metadata or {}).get(METADATA) == self._mark:
                    return batch
            if not page.has_more or not page.data:
                return None
            after = page.data[-1].id
        return None

    async def _begun(self, batch: BatchObject) -> None:
        part = self._part
        part.stage, part.batch_id = "created", batch.id
        part.created_at = batch.created_at or time.time()
        await self._save()
        log_event(log, logging.INFO, "batch.created", batch=batch.id, part=part.id, rows=part.rows)

    async def _cancel(self) -> None:
        log_event(log, logging.INFO, "batch.cancelled", batch=self._part.batch_id, part=self._part.id)
        try:
            await self.api.cancel(self._part.batch_id)
        except (UpstreamError, Unavailable) as error:  # it has ended meanwhile, or the next look tells
            log_event(log, logging.INFO, "batch.not_cancelled", batch=self._part.batch_id, code=error.code)

    async def _patiently(self, step: Callable[[], Awaitable[_Got]]) -> _Got:
        """Do a step until it works.  Raises GivenUp where it never will, or not in time."""
        failed = 0
        while True:
            try:
                return await step()
            except (UpstreamError, Unavailable) as error:
                failed += 1
                await self._bear(error, failed)

    async def _bear(self, error: UpstreamError | Unavailable, failed: int) -> None:
        """Wait after a step that failed; or raise GivenUp."""
        part = self._part
        log_event(
            log,
            logging.WARNING,
            "batch.step_failed",
            part=part.id,
            code=error.code or type(error).__name__,
            failed=failed,
        )
        gone = isinstance(error, Refused) and error.upstream_status == 404
        paid = (
            part.stage == "created" and not gone
        )  # what was paid for is waited for: a person may mend the key
        late = self.is_late() and not paid
        if late or (isinstance(error, UpstreamError) and is_final(error) and not paid):
            raise GivenUp(str(error))
        if time.time() > self._until:
            raise GivenUp(f"nothing came of it for {self._options.lost_most_s / 3600:.0f} h: {error}")
        wait_s = backoff_s(failed, base_s=self._poll_s, most_s=_WAIT_MOST_S, jitter=random.random())
        told = error.wait_s if isinstance(error, NotYet) else error.retry_after_s or 0.0
        await self._sleep(max(wait_s, min(told, _WAIT_MOST_S)))

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not beyond the moment at which the deadline nears."""
        if self._options.deadline_at:
            left_s = self._options.deadline_at - self._options.rescue_s - time.time()
            if left_s > 0:
                seconds = min(seconds, left_s + 0.01)
        await asyncio.sleep(seconds)

    @property
    def _mark(self) -> str:
        """By what the part's batch is found among others."""
        return f"{self._part.id}-{self._part.id_again}"

    async def _save(self) -> None:
        await asyncio.to_thread(self._folder.save, self._part)

"""Looks after the keys of an engine: reads their sources anew, verifies new values, probes those that rest.

A new value takes over when the provider has answered to it; until then, and where its source fails, the old one
goes on.
"""

from __future__ import annotations

import asyncio
import logging
import math

from stanchion.core.clock import Clock
from stanchion.core.errors import SettingsError
from stanchion.keys.checked import Check
from stanchion.keys.ring import Care, KeyRing
from stanchion.keys.slot import KeySlot, KeyVersion, Strike
from stanchion.keys.source import SourceFailed
from stanchion.observe.logs import log_event
from stanchion.rules.key_state import Quarantine, rest_s

log = logging.getLogger(__name__)
_RETRY_S = 30.0  # the bound between two looks at a slow source that failed


class KeyWatch:
    """The one task that waits for keys."""

    def __init__(self, ring: KeyRing, clock: Clock, check: Check) -> None:
        """`check` asks a provider whether it knows a key."""
        self._ring = ring
        self._clock = clock
        self._check = check

    async def first(self) -> None:
        """Read those keys that have no value yet.  Raises SettingsError by name if one cannot be read."""
        for slot in tuple(self._ring.slots.values()):
            if slot.active is None:
                try:
                    found = await slot.source.read()
                except SourceFailed as error:
                    # the frames below hold what the source said
                    raise SettingsError(f"{slot.name}: {error}") from error.with_traceback(None)
                self._ring.take(slot, found, self._clock.now())
                self._ring.show(slot)

    async def run(self) -> None:
        """Look after the keys, for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                now = self._clock.now()
                due_in_s = math.inf
                for slot in tuple(self._ring.slots.values()):
                    care = self._ring.cares[slot.name]
                    if care.busy:
                        continue  # it wakes us when it is done
                    slot.state.late(now)
                    slot.forget()
                    slot_in_s = self._due_in(slot, care, now)
                    if slot_in_s <= 0:
                        care.busy = True
                        group.create_task(self._look_after(slot, care))
                    due_in_s = min(due_in_s, max(slot_in_s, 0.001))
                await self._until(due_in_s)

    async def _until(self, due_in_s: float) -> None:
        try:
            async with asyncio.timeout(None if math.isinf(due_in_s) else due_in_s):
                await self._ring.woken.wait()
        except TimeoutError:
            return
        self._ring.woken.clear()

    def _due_in(self, slot: KeySlot, care: Care, now: float) -> float:
        due_in_s = care.read_at - now
        if slot.candidate is not None:
            due_in_s = min(due_in_s, care.check_at - now)
        if slot.quarantine is not None:
            due_in_s = min(due_in_s, slot.quarantine.probe_in(now))
        return due_in_s

    async def _look_after(self, slot: KeySlot, care: Care) -> None:
        try:
            if self._clock.now() >= care.read_at:
                await self._read(slot, care)
            candidate = slot.candidate
            if candidate is not None and self._clock.now() >= care.check_at:
                await self._verify(slot, care, candidate)
            resting, active = slot.quarantine, slot.active
            if resting is not None and active is not None and resting.probe_in(self._clock.now()) == 0:
                await self._probe(slot, resting, active)
        except Exception:  # a task boundary: one key's trouble is not the next one's
            log.exception("key.care_failed")
            care.read_at = self._clock.now() + _RETRY_S
        finally:
            care.busy = False
            self._ring.woken.set()

    async def _read(self, slot: KeySlot, care: Care) -> None:
        try:
            found = await slot.source.read()
        except SourceFailed as error:
            now = self._clock.now()
            care.read_at = now + min(slot.source.every_s, _RETRY_S)
            code = error.code or "source_failed"
            slot.last_error, slot.last_error_at = code, now
            if code != care.source_code:  # said once, not at each look
                care.source_code = code
                then = "the old value stays" if slot.active is not None else "it has no value"
                log_event(log, logging.ERROR, "key.source_failed", key=slot.name, code=code, then=then)
            return
        self._ring.take(slot, found, self._clock.now())

    async def _verify(self, slot: KeySlot, care: Care, candidate: KeyVersion) -> None:
        checked = await self._check(slot.spec, candidate.secret)
        now = self._clock.now()
        if slot.candidate is not candidate:
            return  # a newer one came meanwhile
        fingerprint = candidate.secret.fingerprint(self._ring.pepper)
        if checked.what == "ok":
            candidate.learn(dict(checked.headers))
            slot.promote(now, self._ring.longest_s)
            self._ring.metrics.key_rotations.of(slot.name, "taken").inc()
            log_event(log, logging.INFO, "key.rotated", key=slot.name, fingerprint=fingerprint)
            self._ring.show(slot)
            return
        if checked.what == "refused":
            care.refusals += 1
            slot.last_error, slot.last_error_at = checked.code, now
            if care.refusals == 1:
                self._ring.metrics.key_rotations.of(slot.name, "refused").inc()
                log_event(
                    log,
                    logging.ERROR,
                    "key.refused",
                    key=slot.name,
                    fingerprint=fingerprint,
                    code=checked.code,
                    then="the old value stays; it is asked again",
                )
        wait_s = rest_s(max(1, care.refusals), self._ring.options.reread_s, self._ring.options.probe_s)
        care.check_at = now + wait_s

    async def _probe(self, slot: KeySlot, resting: Quarantine, active: KeyVersion) -> None:
        if not resting.begin(self._clock.now()):
            return
        try:
            checked = await self._check(slot.spec, active.secret)
        finally:
            resting.unknown()
        now = self._clock.now()
        if slot.quarantine is not resting:
            return
        if checked.what == "ok":
            self._ring.release(resting, "probe")
        elif checked.what == "refused":
            slot.strike(Strike(checked.code, resting.scope, by_call=resting.by_call), now)
        else:
            resting.again_in(now, self._ring.options.probe_s)

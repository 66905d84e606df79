"""All keys of an engine: which there are, and which rest.

Who falls together: the keys of one organization or project at one base URL share a quarantine, and one probe.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping

from stanchion.core.clock import Clock
from stanchion.keys.options import KeysOptions
from stanchion.keys.slot import KeySlot, KeySpec, Strike
from stanchion.keys.source import Found, KeySource
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics
from stanchion.rules.key_state import Quarantine, rest_s
from stanchion.rules.refusals import Scope

log = logging.getLogger(__name__)
STATES = ("active", "quarantined", "waiting")
_EARLY_S = 60.0  # before a key expires; a tenth of its life, if that is less


Quota = Callable[[str], Mapping[str, str]]  # of a key by name: by model, what is left of it in a short text


class Care:
    """What is due for one key, on the loop's clock."""

    def __init__(self, now: float, replaces: KeySlot | None) -> None:
        self.replaces = replaces  # the key that had its name before a reload, until its own value is known
        self.read_at = now
        self.check_at = now
        self.refusals = 0  # of the present candidate
        self.source_code = ""  # why its source failed last
        self.busy = False


class KeyRing:
    """The keys of one engine."""

    def __init__(self, options: KeysOptions, clock: Clock, metrics: Metrics) -> None:
        self.options = options
        self.longest_s = 600.0  # a call may take; its key is not retired before
        self.slots: dict[str, KeySlot] = {}
        self.pepper = os.urandom(16)
        self.quota: Quota = _not_known
        self.tell: Callable[[KeySlot, str, str], None] | None = None  # other replicas: slot, what, code
        self.metrics = metrics
        self._clock = clock
        self.cares: dict[str, Care] = {}
        self.woken = asyncio.Event()  # something may be due

    def slot(self, spec: KeySpec, source: KeySource) -> KeySlot:
        """Return the key with this spec: the one that is there, with its health, or a new one."""
        found = self.slots.get(spec.name)
        if found is None or found.spec != spec:
            return KeySlot(spec, source)
        found.source = source
        return found

    def use(self, keys: Iterable[tuple[KeySlot, Found | None]]) -> None:
        """Look after these keys and no others; take what their sources gave."""
        now, before = self._clock.now(), self.slots
        keys = list(keys)
        self.slots = {slot.name: slot for slot, _ in keys}
        for gone in before.keys() - self.slots.keys():
            self.cares.pop(gone, None)
            for state in STATES:
                self.metrics.key_state.of(gone, state).set(0)
        for slot, found in keys:
            old = before.get(slot.name)
            if old is not slot:
                if old is not None and old.active is None:  # replaced before it had a value
                    old = self.cares[slot.name].replaces
                self.cares[slot.name] = Care(now, old)
            slot.siblings = tuple(
                each for each, _ in keys if each is not slot and each.spec.provider == slot.spec.provider
            )
            slot.on_strike, slot.on_worked = self._struck, self._worked
            if found is not None:
                self.take(slot, found, now)
            self.show(slot)
        self.woken.set()

    def take(self, slot: KeySlot, found: Found, now: float) -> None:
        """Take what a key's source gave: nothing new, a candidate, or the first value, which is used at once."""
        if not self._has(slot):
            return
        care, before = self.cares[slot.name], slot.candidate
        care.source_code = ""
        care.read_at = now + slot.source.every_s
        if found.good_for_s is not None:
            early_s = min(_EARLY_S, found.good_for_s / 10)
            care.read_at = min(care.read_at, now + max(1.0, found.good_for_s - early_s))
        empty = slot.active is None
        candidate = slot.offer(found.secret, now)
        if candidate is not before:
            care.check_at, care.refusals = now, 0
        if empty:
            old, care.replaces = care.replaces, None
            if old is not None:
                _carry_over(old, slot)
            self.show(slot)

    # --- quarantine -----------------------------------------------------------------------------------

    def _struck(self, slot: KeySlot, strike: Strike, now: float) -> None:
        """Quarantine a key, and those that fall with it."""
        if not self._has(slot):
            return  # a reload took it away while a call was on its way: nobody asks with it again
        before, falling = slot.quarantine, self._falling(slot, strike.scope)
        resting = self._there_already(slot, strike, falling) if before is None else None
        if resting is None:
            seconds = rest_s(slot.strikes, self.options.probe_s, self.options.probe_most_s)
            resting = Quarantine(strike.code, strike.scope, now, seconds, by_call=strike.by_call)
        for each in falling:
            new = each.quarantine is None
            if each is not slot and not new and each.quarantine is not before:
                continue  # it rests for a reason of its own, which this one's end would not end
            self._rest(each, resting)
            if new and self.tell is not None:
                self.tell(each, "quarantine", strike.code)
        if strike.scope is Scope.KEY:
            self.cares[slot.name].read_at = now if slot.source.every_s < math.inf else math.inf
        self.woken.set()

    def _there_already(self, slot: KeySlot, strike: Strike, falling: list[KeySlot]) -> Quarantine | None:
        """Return the quarantine that others are in for the same reason: one probe is enough for all."""
        for each in falling:
            found = each.quarantine
            if each is not slot and found is not None and found.scope is strike.scope is not Scope.KEY:
                return found
        return None

    def _falling(self, slot: KeySlot, scope: Scope) -> list[KeySlot]:
        mine = slot.active
        if scope is Scope.KEY or mine is None or not mine.organization:
            return [slot]
        return [
            each
            for each in self.slots.values()
            if each is slot
            or (
                (theirs := each.active) is not None
                and each.spec.base_url == slot.spec.base_url
                and theirs.organization == mine.organization
                and (scope is Scope.ORGANIZATION or (bool(mine.project) and theirs.project == mine.project))
            )
        ]

    def _rest(self, slot: KeySlot, resting: Quarantine) -> None:
        again = slot.quarantine is not None
        slot.rest(resting)
        self.show(slot)
        log_event(
            log,
            logging.INFO if again else logging.ERROR,
            "key.quarantined",
            key=slot.name,
            fingerprint=self.fingerprint(slot),
            code=resting.code,
            scope=resting.scope.value,
            again_in_s=round(resting.due - self._clock.now(), 1) if resting.due < math.inf else None,
        )

    def _worked(self, slot: KeySlot, resting: Quarantine) -> None:
        """End a quarantine: a real call passed."""
        if slot.quarantine is resting:
            self.release(resting, "call")

    def release(self, resting: Quarantine, by: str) -> None:
        """End a quarantine for all who share it."""
        now = self._clock.now()
        for slot in self.slots.values():
            if slot.quarantine is resting:
                slot.release(now)
                self.show(slot)
                log_event(
                    log,
                    logging.INFO,
                    "key.released",
                    key=slot.name,
                    fingerprint=self.fingerprint(slot),
                    by=by,
                )
                if self.tell is not None and by != "order":
                    self.tell(slot, "release", by)
        self.woken.set()

    def ordered(self, slot: KeySlot, code: str, rest_for_s: float, *, by_call: bool) -> None:
        """Quarantine a key because another replica, or a person, says so.  `inf`: until a person's word."""
        if slot.quarantine is None or math.isinf(rest_for_s):
            scope = Scope.KEY
            self._rest(slot, Quarantine(code, scope, self._clock.now(), rest_for_s, by_call=by_call))
            self.woken.set()

    def look_now(self, slot: KeySlot) -> None:
        """Read its source and verify what it holds, now."""
        care, now = self.cares[slot.name], self._clock.now()
        care.read_at = care.check_at = now
        care.refusals = 0
        self.woken.set()

    def fingerprint(self, slot: KeySlot) -> str:
        """Return the active value's fingerprint; "" if there is none."""
        return slot.active.secret.fingerprint(self.pepper) if slot.active is not None else ""

    def show(self, slot: KeySlot) -> None:
        """Show its state in the metrics."""
        if not self._has(slot):
            return
        for state in STATES:
            self.metrics.key_state.of(slot.name, state).set(int(state == slot.word))

    def _has(self, slot: KeySlot) -> bool:
        """Say whether it is one of ours: after a reload, calls may still finish with one that is not."""
        return self.slots.get(slot.name) is slot


def _carry_over(old: KeySlot, slot: KeySlot) -> None:
    """Let a key rest on that rested under other settings, if its value is the same.

    What a provider said of it does not hold at another base URL; a person's word does.
    """
    if old.active is None or slot.active is None or old.active.secret != slot.active.secret:
        return
    resting, same_place = old.quarantine, old.spec.base_url == slot.spec.base_url
    if same_place:
        slot.strikes = old.strikes
    if resting is not None and (same_place or math.isinf(resting.due)):
        slot.rest(resting)


def _not_known(key: str) -> Mapping[str, str]:
    del key
    return {}

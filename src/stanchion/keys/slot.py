"""One key as it is used: its live values, who holds which, and whether it rests.

A call leases the active value and gives it back when its reply ends.  A refusal for good quarantines the key
at once, so it gets no second call; what is quarantined beside it is `ring.py`'s matter.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence

import msgspec

from stanchion.core.errors import NotYet, UpstreamError
from stanchion.core.reply import End
from stanchion.core.secret import Secret
from stanchion.keys.source import KeySource
from stanchion.rules.key_state import KeyState, Quarantine, Stage
from stanchion.rules.refusals import Scope, is_billing, scope_of

COOL_S = 60.0  # how long a model that a key may not ask is asked with the provider's other keys
_EMPTY_S = 0.1  # no value yet: its source is being read
_MODELS_MOST = 1000  # callers name models: what is kept for them is bounded


class KeySpec(msgspec.Struct, frozen=True, kw_only=True):
    """Which key it is.  Two of the same spec are the same key; holds no value."""

    name: str  # "openai#OPENAI_API_KEY"
    provider: str
    base_url: str
    place: str  # of what source
    organization: str = ""
    project: str = ""


class KeyVersion:
    """One value of a key, and how many calls hold it."""

    __slots__ = ("in_flight", "learned", "number", "organization", "prepared", "project", "secret")

    def __init__(self, number: int, secret: Secret, spec: KeySpec) -> None:
        self.number = number
        self.secret = secret
        self.in_flight = 0
        self.organization = spec.organization  # else learned
        self.project = spec.project
        self.learned = False
        self.prepared: dict[object, Mapping[str, str]] = {}  # request headers that hold it, by their kind

    def learn(self, headers: Mapping[str, str], *, for_good: bool = True) -> None:
        """Take from a provider's answer to whom it is billed, where the settings do not say."""
        self.learned = self.learned or for_good
        if not self.organization:
            self.organization = headers.get("openai-organization", "")[:100]
        if not self.project:
            self.project = headers.get("openai-project", "")[:100]


class Lease:
    """A call's hold on a value."""

    __slots__ = ("probe", "version")

    def __init__(self, version: KeyVersion, probe: Quarantine | None) -> None:
        self.version = version
        self.probe = probe  # the quarantine that this call is to end


class Strike(msgspec.Struct, frozen=True):
    """A refusal for good: what the ring needs to know of it."""

    code: str
    scope: Scope
    by_call: bool


OnStrike = Callable[["KeySlot", Strike, float], None]


class KeySlot:
    """One key of one provider."""

    def __init__(self, spec: KeySpec, source: KeySource) -> None:
        self.spec = spec
        self.source = source
        self.name = spec.name
        self.state = KeyState()
        self.versions: dict[int, KeyVersion] = {}
        self.quarantine: Quarantine | None = None
        self.strikes = 0  # refusals in a row
        self.last_error = ""  # a code
        self.last_error_at = 0.0  # on the loop's clock
        self.since = 0.0  # in its present state, on the loop's clock
        self.siblings: Sequence[KeySlot] = ()  # the provider's other keys
        self.on_strike: OnStrike | None = None
        self.on_worked: Callable[[KeySlot, Quarantine], None] | None = None
        self._cool: dict[str, float] = {}  # models that this key may not ask: until when
        self._wakes: list[weakref.WeakMethod[Callable[[], None]]] = []

    @property
    def active(self) -> KeyVersion | None:
        """The value that new calls take."""
        return self.versions.get(self.state.active)

    @property
    def candidate(self) -> KeyVersion | None:
        """The value that is not verified yet."""
        return self.versions.get(self.state.candidate)

    @property
    def in_flight(self) -> int:
        """Count the calls that hold a value."""
        return sum(version.in_flight for version in self.versions.values())

    @property
    def word(self) -> str:
        """Say how it is: `active`, `quarantined`, or `waiting` for its first value."""
        if self.quarantine is not None:
            return "quarantined"
        return "active" if self.state.active else "waiting"

    # --- for calls ----------------------------------------------------------------------------------

    def ready_in(self, now: float, model: str = "") -> float:
        """Say in how many seconds a call could take it."""
        if self.quarantine is not None:
            return self.quarantine.ready_in(now)
        if not self.state.active:
            return _EMPTY_S
        return self._cool_for(model, now) if self._cool else 0.0

    def lease(self, now: float) -> Lease:
        """Take the active value.  Raises NotYet if the key rests, or has no value yet."""
        version, resting = self.active, self.quarantine
        probe = None
        if resting is not None and resting.by_call and resting.begin(now):
            probe = resting
        elif resting is not None or version is None:
            raise NotYet(self.ready_in(now))
        if version is None:
            raise NotYet(_EMPTY_S)
        version.in_flight += 1
        return Lease(version, probe)

    def give_back(self, lease: Lease, end: End) -> None:
        """Note that the call ended."""
        version = lease.version
        version.in_flight -= 1
        if version.in_flight == 0 and version.number != self.state.active:
            self.state.ended(version.number, 0)
            self.forget()
        if lease.probe is not None:
            lease.probe.unknown()
        if end is End.COMPLETED and version.number == self.state.active:
            self.strikes = 0
            if lease.probe is not None and self.on_worked is not None:
                self.on_worked(self, lease.probe)

    def failed(self, lease: Lease, error: UpstreamError, model: str, now: float) -> None:
        """Take the facts of a refusal.  Raises nothing; may change the facts: a retired value's end is no key's."""
        status = error.upstream_status or error.status
        scope = scope_of(status, error.code, error.type)
        if scope is Scope.NONE:
            if error.elsewhere and not error.retryable and status in (403, 404):
                self._cool_down(model, now)
            return
        self.last_error, self.last_error_at = error.code or f"status_{status}", now
        if lease.version.number != self.state.active:
            if scope is Scope.KEY:  # it was revoked while this call was on its way: ask with the new one
                error.permanent, error.retryable = False, True
            return
        if self.quarantine is None or self.quarantine is lease.probe:
            by_call = is_billing(status, error.code, error.type)
            self.strike(Strike(self.last_error, scope, by_call), now)

    def strike(self, strike: Strike, now: float) -> None:
        """Quarantine this key, and by the ring those that fall with it."""
        self.strikes += 1
        if self.on_strike is not None:
            self.on_strike(self, strike, now)
        else:  # alone: it rests until someone says otherwise
            self.rest(Quarantine(strike.code, strike.scope, now, float("inf"), by_call=strike.by_call))

    # --- for the ring -------------------------------------------------------------------------------

    def offer(self, secret: Secret, now: float) -> KeyVersion | None:
        """Take what the source holds; return it if it is a new candidate.  The first value is active at once."""
        known = self.candidate
        if self.active is not None and self.active.secret == secret:
            self.drop()
            return None
        if known is not None and known.secret == secret:
            return known
        number = self.state.found()
        version = self.versions[number] = KeyVersion(number, secret, self.spec)
        if not self.state.active:
            self.promote(now, 0.0)
            return None
        self.forget()
        return version

    def promote(self, now: float, longest_s: float) -> None:
        """Make the candidate the active value: its quarantine and its strikes were the old one's."""
        self.state.verified(now, longest_s)
        self.state.ended(self.state.retiring, self.in_flight_of(self.state.retiring))
        self.quarantine, self.strikes, self.since = None, 0, now
        self._cool.clear()
        self.forget()
        self.wake()

    def drop(self) -> None:
        """Let the candidate go."""
        self.state.dropped()
        self.forget()

    def forget(self) -> None:
        """Let go of values that are retired: their secrets leave this object."""
        for number in [each for each in self.versions if self.state.stage(each) is Stage.RETIRED]:
            del self.versions[number]

    def in_flight_of(self, number: int) -> int:
        """Count the calls that hold a value."""
        version = self.versions.get(number)
        return version.in_flight if version is not None else 0

    def rest(self, quarantine: Quarantine) -> None:
        """Take no calls until the quarantine ends."""
        self.quarantine, self.since = quarantine, quarantine.since

    def release(self, now: float) -> None:
        """End the quarantine.  The strikes stay until a call succeeds."""
        self.quarantine, self.since = None, now
        self.wake()

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake`, a method, when the key may be used earlier than it said.  It is held weakly."""
        self._wakes = [each for each in self._wakes if each() is not None]
        self._wakes.append(weakref.WeakMethod(wake))

    def wake(self) -> None:
        """Wake who waits for this key."""
        for each in self._wakes:
            wake = each()
            if wake is not None:
                wake()

    # --- models that one key may not ask --------------------------------------------------------------

    def cools(self, model: str, now: float) -> bool:
        """Say whether this key was told lately that it may not ask this model."""
        return self._cool.get(model, 0.0) > now

    def _cool_down(self, model: str, now: float) -> None:
        if self.siblings:  # with one key there is nothing to route to: the provider's own answer says more
            if len(self._cool) >= _MODELS_MOST:
                self._cool.clear()
            self._cool[model] = now + COOL_S

    def _cool_for(self, model: str, now: float) -> float:
        """Return the rest of a cool-down, but 0 where no other key may ask this model."""
        until = self._cool.get(model)
        if until is None or until <= now:
            self._cool.pop(model, None)
            return 0.0
        other = any(each.ready_in(now) == 0 and not each.cools(model, now) for each in self.siblings)
        return until - now if other else 0.0

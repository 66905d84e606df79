"""What the tests of keys share: a source one can change, a provider that knows some keys, a ring over both."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stanchion.core.clock import Clock
from stanchion.core.errors import Refused, UpstreamError
from stanchion.core.reply import End
from stanchion.core.secret import Secret
from stanchion.keys.checked import Checked
from stanchion.keys.options import KeysOptions
from stanchion.keys.ring import KeyRing
from stanchion.keys.slot import KeySlot, KeySpec
from stanchion.keys.source import Found, SourceFailed
from stanchion.keys.watch import KeyWatch
from stanchion.observe.metrics import Metrics

OLD, NEW = "sk-canary-old", "sk-canary-new"


def now() -> float:
    return asyncio.get_running_loop().time()


class Place:
    """A source whose content a test changes."""

    name = "the place"

    def __init__(self, value: str, every_s: float = 10.0) -> None:
        self.value = value
        self.every_s = every_s
        self.good_for_s: float | None = None
        self.failing = ""
        self.reads = 0

    def read_now(self) -> Found | None:
        self.reads += 1
        if self.failing:
            raise SourceFailed("the place gives nothing", code=self.failing)
        return Found(Secret(self.value), self.good_for_s)

    async def read(self) -> Found:
        await asyncio.sleep(0.5)
        found = self.read_now()
        assert found is not None
        return found


class Known:
    """A provider's answer to which keys it knows."""

    def __init__(self) -> None:
        self.refused = set[str]()
        self.away = False
        self.asked = list[tuple[float, str]]()

    async def __call__(self, spec: KeySpec, secret: Secret) -> Checked:
        self.asked.append((now(), secret.reveal()))
        await asyncio.sleep(0.25)
        if self.away:
            return Checked("unreachable", "upstream_silent")
        if secret.reveal() in self.refused:
            return Checked("refused", "invalid_api_key")
        return Checked("ok", headers=(("openai-organization", "org-a"),))


def spec(name: str = "a#ONE", **more: str) -> KeySpec:
    provider = name.partition("#")[0]
    return KeySpec(name=name, provider=provider, base_url="http://a", place="the place", **more)


def refused(code: str = "invalid_api_key", status: int = 401) -> Refused:
    error = Refused("no", status=status, upstream_status=status, code=code, retryable=False, permanent=True)
    error.type = "invalid_request_error"
    return error


def fail(slot: KeySlot, error: UpstreamError, model: str = "m") -> None:
    """One call that ends with an error."""
    lease = slot.lease(now())
    slot.failed(lease, error, model, now())
    slot.give_back(lease, End.FAILED)


def work(slot: KeySlot) -> None:
    """One call that ends well."""
    slot.give_back(slot.lease(now()), End.COMPLETED)


def held(slot: KeySlot) -> str:
    assert slot.active is not None
    return slot.active.secret.reveal()


class Ringed:
    """A ring with its watch."""

    def __init__(self, **slots: Place) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.known = Known()
        self.ring = KeyRing(KeysOptions(), self.clock, self.metrics)
        self.watch = KeyWatch(self.ring, self.clock, self.known)
        self.places = slots
        self.slots = {name: self.ring.slot(spec(f"a#{name}"), place) for name, place in slots.items()}
        self.ring.use([(slot, self.places[name].read_now()) for name, slot in self.slots.items()])

    def state(self, name: str, word: str) -> float:
        return self.metrics.key_state.of(f"a#{name}", word).value


@asynccontextmanager
async def running(**slots: Place) -> AsyncGenerator[Ringed]:
    """A ring that is looked after."""
    ringed = Ringed(**slots)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ringed.watch.run())
        try:
            yield ringed
        finally:
            task.cancel()


NEVER = math.inf

"""Faults: what the simulator can do wrong, how each is written, and which call meets which.

    503                     any status 400..599 with OpenAI's error body for it
    429:retry_after=2       429 with Retry-After (seconds) and/or retry_after_ms; without either: a bare 429
    insufficient_quota      a permanent code with its own status; see `CODES` for all of them
    echo_key                401 whose message repeats the Authorization header
    reset                   the connection is reset before any header
    silence                 the call is accepted and never answered
    slow:2                  headers at once, the first event (or the whole body) 2 s later than usual
    stall:3                 after 3 events (whole: half the body) nothing more comes, the connection stays open
    cut:5                   after 5 events the stream ends as if complete, without [DONE]
    cut:5,end=abort         ... ends in the middle of the 6th event, transport closed; end=reset: reset instead
    cut_bytes:120           the body ends after 120 bytes; `end` as above
    malformed:2             event 3 is broken JSON
    error_event:2           after 2 events an error inside the stream, then the end (whole: an error body)
    no_done                 everything but [DONE]
    no_finish               finish_reason stays null
    empty_choices           200 with `choices: []`
    error_body              200 with an error body
    html, empty             200 with a page of HTML; 200 with nothing
    content_type            the right body under text/plain
    flap:5                  fails for 5 s, is fine for 5 s, and so on; `fault=` says how (default 503)
    lost                    of /v1/files and /v1/batches: the work is done, then the connection is reset
    ok                      no fault: a place in the schedule that passes

Text is `name[:value][,key=value...]`; JSON is an object with the field names of `Fault`. A fault with
`rate=0.1` strikes a tenth of the calls, one with `times=0` strikes always, all others wait in the schedule and
are used up in order. `model=` restricts a fault to one model, `tier=flex` to calls with that `service_tier`. A call
of the model `fault-cut-5-abort` or `fault-429-retry-after-2` meets that fault whatever the schedule says. Calls of
/v1/files and /v1/batches meet only faults with their own name as the model, see `batches.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

import msgspec

from stanchion.simulator.errors import CODES

End: TypeAlias = Literal["clean", "abort", "reset"]

NAMES = frozenset(
    [
        "ok",
        "echo_key",
        "reset",
        "silence",
        "slow",
        "stall",
        "cut",
        "cut_bytes",
        "malformed",
        "error_event",
        "no_done",
        "no_finish",
        "empty_choices",
        "error_body",
        "html",
        "empty",
        "content_type",
        "flap",
        "lost",
        "status",
    ]
)
_COUNTED = {"stall", "cut", "cut_bytes", "malformed", "error_event"}
_TIMED = {"slow", "flap"}


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One fault. `after` counts events or bytes, `seconds` belongs to slow and flap; see the module's table."""

    name: str
    after: int = 0
    seconds: float = 0.0
    status: int = 0
    retry_after: float | None = None
    retry_after_ms: float | None = None
    end: End = "clean"
    fault: str = "503"
    model: str | None = None
    tier: str | None = None
    rate: float | None = None
    times: int = 1

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read the text form. Raises ValueError with what is wrong and what would be right."""
        head, _, tail = text.strip().partition(":")
        name, *items = head.split(",")
        name = name.replace("-", "_")
        items += tail.split(",") if tail else []
        fields: dict[str, object] = {}
        for position, item in enumerate(items):
            key, separator, value = item.partition("=")
            if separator:
                fields[key.strip()] = value.strip()
            elif position == 0:
                fields[_main_parameter(name)] = item.strip()
            else:
                raise ValueError(f"fault {text!r}: {item!r} is not key=value")
        return cls.of({"name": name, **fields})

    @classmethod
    def of(cls, value: Fault | str | dict[str, object]) -> Fault:
        """A fault from any of its forms. Raises ValueError."""
        if isinstance(value, Fault):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        fields = dict(value)
        name = str(fields.get("name", "")).strip().replace("-", "_")
        if name.isdigit():
            fields.update(name="status", status=name)
        else:
            fields["name"] = name
        try:
            fault = msgspec.convert(fields, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ValueError(f"fault {value!r}: {error}") from error
        fault.check()
        return fault

    @classmethod
    def of_model(cls, model: str) -> Fault | None:
        """The fault a model's name asks for, or None if the name is no fault's."""
        if not model.startswith("fault-"):
            return None
        words = model.removeprefix("fault-").replace("-", "_").split("_")
        for length in range(len(words), 0, -1):
            name = "_".join(words[:length])
            if name in NAMES or name in CODES or (length == 1 and name.isdigit()):
                try:
                    return cls.of({"name": name, **_settings_of(name, words[length:])})
                except ValueError:
                    return None
        return None

    def check(self) -> None:
        """Raises ValueError if the fault means nothing."""
        if self.name not in NAMES and self.name not in CODES:
            known = ", ".join(sorted(NAMES - {"status"}))
            raise ValueError(
                f"no fault {self.name!r}; known: a status, {known}, or a code: {', '.join(CODES)}"
            )
        if self.name == "status" and not 400 <= self.status <= 599:
            raise ValueError(f"status {self.status} is no error; give 400..599")
        if self.after < 0 or self.seconds < 0 or self.times < 0:
            raise ValueError(f"fault {self.name}: numbers must not be negative")
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise ValueError(f"fault {self.name}: rate {self.rate} is not between 0 and 1")
        if self.name == "flap":
            if self.seconds <= 0:
                raise ValueError("flap needs its seconds: flap:5")
            if Fault.parse(self.fault).name == "flap":
                raise ValueError("flap cannot flap")

    def standing(self) -> bool:
        """Whether the fault stays instead of being used up."""
        return self.rate is not None or self.times == 0 or self.name == "flap"

    def label(self) -> str:
        """The short form for the log: `429`, `cut:5,end=abort`."""
        main = str(self.status) if self.name == "status" else self.name
        if self.name in _COUNTED:
            main += f":{self.after}"
        elif self.name in _TIMED:
            main += f":{self.seconds:g}"
        return main if self.end == "clean" else f"{main},end={self.end}"


class FaultPlan:
    """Which call meets which fault: the model's name first, then the schedule, then the standing faults.

    `clock` zero is when the plan was set: flapping starts with its failing half.
    """

    def __init__(self, faults: Iterable[Fault | str | dict[str, object]] = (), *, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._began_at: float | None = None
        self._schedule: list[tuple[Fault, int]] = []
        self._standing: list[Fault] = []
        self.set(faults)

    def set(self, faults: Iterable[Fault | str | dict[str, object]]) -> None:
        """Replace the whole plan."""
        read = [Fault.of(fault) for fault in faults]
        self._schedule = [(fault, fault.times) for fault in read if not fault.standing()]
        self._standing = [fault for fault in read if fault.standing()]
        self._began_at = None

    def add(self, *faults: Fault | str | dict[str, object]) -> None:
        """Append to the plan."""
        for fault in [Fault.of(fault) for fault in faults]:
            if fault.standing():
                self._standing.append(fault)
            else:
                self._schedule.append((fault, fault.times))

    def clear(self) -> None:
        """No faults any more."""
        self.set(())

    def pending(self) -> list[Fault]:
        """What is still to come, in order; standing faults last."""
        return [msgspec.structs.replace(fault, times=left) for fault, left in self._schedule] + self._standing

    def next_for(self, model: str, now: float, tier: str = "") -> Fault | None:
        """The fault of a call that arrives now, used up if it was scheduled; `tier` is its `service_tier`."""
        if model.startswith("fault-"):
            named = Fault.of_model(model)
            if named is not None:
                return named
        return self._take(now, lambda fault: (fault.model or model) == model and (fault.tier or tier) == tier)

    def next_named(self, name: str, now: float) -> Fault | None:
        """The fault of an operation that is no call of a model: only one that names it."""
        return self._take(now, lambda fault: fault.model == name)

    def _take(self, now: float, meant: Callable[[Fault], bool]) -> Fault | None:
        if not self._schedule and not self._standing:
            return None
        for position, (fault, left) in enumerate(self._schedule):
            if meant(fault):
                if left > 1:
                    self._schedule[position] = (fault, left - 1)
                else:
                    del self._schedule[position]
                return None if fault.name == "ok" else fault
        return self._take_standing(now, meant)

    def _take_standing(self, now: float, meant: Callable[[Fault], bool]) -> Fault | None:
        if self._began_at is None:
            self._began_at = now
        for fault in self._standing:
            if not meant(fault):
                continue
            if fault.rate is not None and self._random.random() >= fault.rate:
                continue
            if fault.name != "flap":
                return None if fault.name == "ok" else fault
            if int((now - self._began_at) / fault.seconds) % 2 == 0:
                return Fault.parse(fault.fault)
        return None


def _main_parameter(name: str) -> str:
    if name in _COUNTED:
        return "after"
    if name in _TIMED:
        return "seconds"
    raise ValueError(f"fault {name!r} takes no bare value; write key=value")


def _settings_of(name: str, words: list[str]) -> dict[str, object]:
    """The rest of a model's name after the fault's: numbers and ends."""
    fields: dict[str, object] = {}
    number: str | None = None
    for word in words:
        if word in ("clean", "abort", "reset"):
            fields["end"] = word
        elif word.replace(".", "", 1).isdigit():
            number = word
    if "after" in words:
        fields["retry_after_ms" if "ms" in words else "retry_after"] = number or "1"
    elif number is not None:
        fields[_main_parameter(name)] = number
    return fields

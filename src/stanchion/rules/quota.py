"""The mirror of a provider's limiter for one key and model: what may be sent now without a 429.

Nothing has to be told: limits, windows, burst and kind of limiter are learned from the answers, each limit in
a `Gauge` of its own.  A call is booked on all of them before it is sent (tokens by `rules/charge.py`), what
its answer used is booked at its end, and the headers of each answer set the mirror right.

Before the first answer about four calls pass at once, then four a second, twice as many every second.  An endpoint
that never says a word of limits has none, until it refuses more than now and then: then a rate is guessed
(`rules/guess.py`).  A time to wait that it names is kept by all if it is meant for all (`rules/told.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from stanchion.core.rates import Kind, Level, Rate, RateRefusal
from stanchion.rules.burst import FIRST_S
from stanchion.rules.ceilings import NO_CEILINGS, Ceilings
from stanchion.rules.gauge import Gauge, Mark, News
from stanchion.rules.guess import Guess
from stanchion.rules.limit_window import infer_window
from stanchion.rules.told import Told
from stanchion.rules.window_log import WindowLog

_MINUTE_S = 60.0
_WORDS_LAST_S = 600.0
_WORDS_MORE = 1.1
_START_CALLS = 4
_START_PER_S = 4.0
_START_ENOUGH = 1000.0  # let in at so many a second without a word of a limit: there is none
_ROOM = 0.05  # of a limit, and more: so much is left that it was not what refused
_UNIT_NAMES = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day"}


class Ticket(msgspec.Struct, gc=False):
    """What one call took of all gauges."""

    at: float
    marks: Sequence[Mark]
    answered: bool = False


class Mirror:
    """All limits of one key and model.  Mutable; `now` is given in, in seconds of one clock."""

    def __init__(
        self,
        now: float,
        ceilings: Ceilings = NO_CEILINGS,
        starts: Ceilings = NO_CEILINGS,
        *,
        careful: bool = True,
        news: list[News] | None = None,
    ) -> None:
        """`careful`: let few calls pass until the first answer.

        `news`: where what others must know is put; None if nobody shares these limits.
        """
        self._news = news
        self._born_at = now
        self._history: dict[Kind, WindowLog] = {
            "requests": WindowLog(_MINUTE_S),
            "tokens": WindowLog(_MINUTE_S),
        }
        self.gauges = [Gauge(*each, now=now, ours=True) for each in ceilings.all()]
        self._start: Gauge | None = None  # until the first answer
        self._told: dict[tuple[Kind, float | None], Gauge] = {}  # by what the headers tell
        self._words: dict[
            tuple[Kind, float], float
        ] = {}  # limits that no header tells, and their last refusal
        self._guess = Guess(now)
        self._said = Told()  # how long to wait, where no limit was named
        self.gauges += [
            Gauge(
                *each,
                now=now,
                log=self._history[each[0]],
                first_s=max(FIRST_S, _START_CALLS * each[1] / each[2]),
            )
            for each in starts.all()
        ]
        if careful and not starts.all():
            self._careful(now)
        self._noted()

    @property
    def wants_charge(self) -> bool:
        """Say whether any gauge counts tokens."""
        return self._tokens

    @property
    def plain(self) -> bool:
        """Say whether all that is known are buckets of the provider's, or nothing at all, for itself alone."""
        return (
            self._news is None
            and self._start is None
            and self._guess.gauge is None
            and not any(gauge.sliding for gauge in self.gauges)
        )

    def held(self, now: float) -> bool:
        """Say whether the provider asked all to wait, and named no limit."""
        return self._said.wait_s(now) > 0

    def too_large(self, charge: int) -> Gauge | None:
        """Return the limit that a call of this charge can never keep."""
        if self._tokens:
            for gauge in self.gauges:
                if gauge.kind == "tokens" and charge > gauge.limit and gauge.window_s >= _MINUTE_S:
                    return gauge
        return None

    def ready_in(self, now: float, charge: int) -> float:
        """Say in how many seconds a call of this charge may be sent."""
        if self._start is not None:  # answers may take long: silence is no reason to go on so slowly
            self._start.limit = max(self._start.limit, _START_PER_S * 2.0 ** min(now - self._born_at, 10.0))
        wait = self._said.wait_s(now)
        for gauge in self.gauges:
            each = gauge.wait_s(now, 1 if gauge.kind == "requests" else charge)
            if each > wait:
                wait = each
        return wait

    def fill(self, now: float) -> float:
        """Say which part of the fullest limit is used, 0 to 1."""
        return max((gauge.fill(now) for gauge in self.gauges if gauge is not self._start), default=0.0)

    def shared(self, ticket: Ticket) -> list[Mark]:
        """Return what a ticket took of gauges that are kept in a store, where there is one."""
        return [
            mark
            for mark in ticket.marks
            if mark.gauge.news is not None and (mark.gauge.ours or not mark.gauge.sliding)
        ]

    def take(self, now: float, charge: int) -> Ticket:
        """Book a call on all gauges."""
        return Ticket(
            now, [gauge.take(now, 1 if gauge.kind == "requests" else charge) for gauge in self.gauges]
        )

    def unsent(self, ticket: Ticket) -> None:
        """The call never reached the provider."""
        for mark in ticket.marks:
            mark.gauge.give_back(mark)

    def answered(self, now: float, ticket: Ticket, rates: Sequence[Rate]) -> None:
        """The provider let the call in, and said so much of its limits."""
        if ticket.answered:
            return
        ticket.answered = True
        self._guess.let_in(now, ticket.at)
        self._said.let_in(ticket.at)
        if self._words:
            self._try_words(now)
        if self._start is not None:
            self._begin(self._start, rates)
        for mark in ticket.marks:
            mark.gauge.accepted(mark)
            if mark.edge and mark.gauge is self._guess.gauge:
                self._guess.grow(now)
        self._heard(now, ticket, rates)

    def let_in(self, now: float, calls: int) -> None:
        """So many calls were let in that were counted together."""
        self._guess.let_in(now, now, calls)
        self._said.let_in(-math.inf, calls)

    def ended(self, now: float, ticket: Ticket, output: int) -> None:
        """The answer is at its end and had so many tokens."""
        for mark in ticket.marks:
            mark.gauge.ended()
        if self._tokens:
            for gauge in self.gauges:
                if gauge.kind == "tokens":
                    gauge.debit(now, output)
        else:
            self._history["tokens"].add(now, output)

    def refused(
        self,
        now: float,
        ticket: Ticket,
        words: RateRefusal | None,
        rates: Sequence[Rate],
        wait_s: float | None,
    ) -> bool:
        """A 429 came, which costs nothing: what its words and headers said, and how long to wait.

        Says whether it is known now which limit refused, and so when it will not.
        """
        self.unsent(ticket)
        if self._start is not None and (rates or words is not None):
            self._begin(self._start, rates, told=True)
        if words is not None:
            gauge = self._gauge(words.kind, words.window_s, words.limit, now)
            if gauge not in self._told.values():
                self._words[words.kind, words.window_s] = now
            gauge.refused(now, ticket.at, _mark(ticket, gauge), words, wait_s or 0.0)
            return True
        self._heard(now, ticket, rates)
        known = any(rate.remaining <= _ROOM * rate.limit for rate in rates)
        met = not rates and self._guess.refused(now, ticket.at)
        guess = self._guess.gauge
        if guess is not None and guess not in self.gauges:
            if self._start is not None:
                self._begin(self._start, (), told=True)
            self.gauges.append(guess)
        if not known:
            self._said.refused(now, ticket.at, wait_s or 0.0, for_all=met)
            if guess is None and not rates and self.held(now):
                self._careful(now + self._said.wait_s(now))  # all who wait would be sent in one moment
        for gauge in self.gauges:
            if gauge.kind == "requests":
                gauge.hold(now, (wait_s or 0.0) if known else 0.0, _mark(ticket, gauge))
        return known

    def text(self, now: float) -> str:
        """Say what is left: "requests 480/500 a minute, tokens 20000/30000 a minute"."""
        return ", ".join(
            f"{each.kind} {each.left}/{each.limit} a {_UNIT_NAMES.get(each.window_s, 'window')}"
            for each in self.levels(now)
        )

    def levels(self, now: float) -> list[Level]:
        """Say how full each limit is."""
        known = [gauge for gauge in self.gauges if gauge is not self._start]
        return [Level(each.kind, each.left(now), round(each.limit), each.window_s) for each in known]

    def _heard(self, now: float, ticket: Ticket, rates: Sequence[Rate]) -> None:
        for rate in rates:
            key = (rate.kind, rate.window_s)
            gauge = self._told.get(key)
            window_s = infer_window(rate) if gauge is None or rate.reset_s is not None else gauge.window_s
            if gauge is None or gauge.limit != rate.limit or (window_s or gauge.window_s) != gauge.window_s:
                if gauge is not None and window_s not in (None, gauge.window_s) and gauge in self.gauges:
                    self.gauges.remove(gauge)  # its window was only assumed
                window_s = window_s or (gauge.window_s if gauge is not None else _MINUTE_S)
                gauge = self._told[key] = self._gauge(rate.kind, window_s, rate.limit, now)
            gauge.heard(now, ticket.at, _mark(ticket, gauge), rate.remaining, let_in=ticket.answered)

    def _try_words(self, now: float) -> None:
        """Take limits that only a refusal told of for a little larger now and then: nothing would say that they are."""
        for (kind, window_s), at in tuple(self._words.items()):
            if now - at > max(_WORDS_LAST_S, window_s / 24):
                self._words[kind, window_s] = now
                for gauge in self.gauges:
                    if (gauge.kind, gauge.window_s, gauge.ours) == (kind, window_s, False):
                        gauge.limit *= _WORDS_MORE

    def _careful(self, now: float) -> None:
        """Let few calls pass from then on, until an answer says more."""
        if self._start is not None:
            self.gauges.remove(self._start)
        self._born_at = now
        self._start = Gauge("requests", 1.0, _START_PER_S, now=now, log=self._history["requests"])
        self.gauges.append(self._start)

    def _begin(self, start: Gauge, rates: Sequence[Rate], *, told: bool = False) -> None:
        """Something answered: the start is over, or nearly."""
        start.limit += _START_PER_S
        if rates or told or start.limit >= _START_ENOUGH:
            self.gauges.remove(start)
            self._start = None

    def _gauge(self, kind: Kind, window_s: float, limit: float, now: float) -> Gauge:
        """Return the gauge of that limit, with its size as it is now."""
        for gauge in self.gauges:
            if (
                gauge.kind == kind
                and gauge.window_s == window_s
                and gauge is not self._start
                and not gauge.ours
            ):
                gauge.limit = limit
                return gauge
        log = self._history[kind] if window_s == _MINUTE_S else None
        gauge = Gauge(kind, window_s, limit, now=now, log=log)
        self.gauges.append(gauge)
        self._noted()
        return gauge

    def _noted(self) -> None:
        for gauge in self.gauges:
            if gauge is not self._start:
                gauge.news = self._news
        self._tokens = any(gauge.kind == "tokens" for gauge in self.gauges)


def _mark(ticket: Ticket, gauge: Gauge) -> Mark | None:
    for mark in ticket.marks:
        if mark.gauge is gauge:
            return mark
    return None

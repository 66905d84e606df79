"""Quotas as OpenAI enforces them, with arithmetic of its own.

Rules, found in recorded replies and the texts of 429s: a continuous token bucket whose capacity is the whole
limit; admission charged by characters, `ceil(chars / 4 + messages) + n`; output debited afterwards, so a bucket
may stand below zero; `x-ratelimit-reset-*` is the time until the bucket is full; the wait named in a 429 is
`(used + requested - limit) / limit * window`, cut to the millisecond. The headers show the limit per day where
there is one for requests; a daily limit on tokens has no header. A 429 itself costs nothing here.

Two other servers for tests of clients: `burst-1s` also refuses what exceeds one second's share, and `sliding`
counts the last window exactly instead of refilling.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

MINUTE_S = 60.0
DAY_S = 86_400.0
IMAGE_CHARGE = 765
_MAX_ACCOUNTS = 10_000  # the oldest (key, model) is forgotten beyond this

QuotaMode: TypeAlias = Literal["bucket", "burst-1s", "sliding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one (key, model) may use. The defaults are so high that nothing is refused."""

    rpm: int = 10_000_000
    tpm: int = 10_000_000_000
    rpd: int | None = None
    tpd: int | None = None


def admission_charge(chars: int, messages: int, n: int = 1, images: int = 0) -> int:
    """Tokens charged before a call is admitted."""
    return math.ceil(chars / 4 + messages) + n + IMAGE_CHARGE * images


def reset_s(limit: int, remaining: float, window_s: float) -> float:
    """Seconds until a bucket with `remaining` left is full again."""
    return (limit - remaining) / limit * window_s


def wait_s(limit: int, used: float, requested: float, window_s: float) -> float:
    """Seconds until `requested` fits."""
    return max(0.0, (used + requested - limit) / limit * window_s)


def duration(seconds: float) -> str:
    """A duration as Go prints it, to the millisecond: `0s`, `120ms`, `6m0s`, `1m26.4s`, `4h43m28.384s`."""
    ms = round(seconds * 1000)
    if ms <= 0:
        return "0s"
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if minutes == 0:
        return text
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"


class Bucket:
    """A continuous bucket: `used` drains at limit / window."""

    __slots__ = ("_at", "_used", "limit", "window_s")

    def __init__(self, limit: int, window_s: float) -> None:
        self.limit = limit
        self.window_s = window_s
        self._used = 0.0
        self._at = 0.0

    def used(self, now: float) -> float:
        """What is in use at `now`, never below zero."""
        elapsed = now - self._at
        if elapsed > 0:
            self._used = max(0.0, self._used - elapsed * self.limit / self.window_s)
            self._at = now
        return self._used

    def add(self, amount: float, now: float) -> None:
        """Book `amount`; may go beyond the limit (debt)."""
        self._used = self.used(now) + amount

    def fits(self, amount: float, now: float) -> bool:
        """Whether `amount` fits now."""
        return self.used(now) + amount <= self.limit + 1e-9


class Window(Bucket):
    """An exact sliding window over what was booked in the last `window_s`."""

    __slots__ = ("_booked",)

    def __init__(self, limit: int, window_s: float) -> None:
        super().__init__(limit, window_s)
        self._booked: deque[tuple[float, float]] = deque()

    def used(self, now: float) -> float:
        """What was booked within the last window."""
        while self._booked and self._booked[0][0] <= now - self.window_s:
            self._used -= self._booked.popleft()[1]
        if not self._booked:
            self._used = 0.0
        return self._used

    def add(self, amount: float, now: float) -> None:
        """Book `amount` at `now`."""
        self._used = self.used(now) + amount
        self._booked.append((now, amount))

    def booked(self) -> list[tuple[float, float]]:
        """What was booked and when, oldest first."""
        return list(self._booked)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call was not admitted: the exact text, and how long to wait (0 = never fits)."""

    message: str
    kind: Literal["requests", "tokens"]
    wait_s: float


@dataclass(slots=True)
class _Gauge:
    """One limit with its name in the text of a 429."""

    bucket: Bucket
    kind: Literal["requests", "tokens"]
    name: str


@dataclass(slots=True)
class Account:
    """All limits of one (key, model)."""

    requests: Bucket
    tokens: Bucket
    gauges: list[_Gauge] = field(default_factory=list[_Gauge])
    seconds: list[_Gauge] = field(default_factory=list[_Gauge])

    def headers(self, now: float) -> list[tuple[str, str]]:
        """The six headers, as they stand at `now`."""
        left_requests = max(0, math.floor(self.requests.limit - self.requests.used(now)))
        left_tokens = max(0, math.floor(self.tokens.limit - self.tokens.used(now)))
        to_full_requests = reset_s(self.requests.limit, left_requests, self.requests.window_s)
        to_full_tokens = reset_s(self.tokens.limit, left_tokens, self.tokens.window_s)
        return [
            ("x-ratelimit-limit-requests", str(self.requests.limit)),
            ("x-ratelimit-limit-tokens", str(self.tokens.limit)),
            ("x-ratelimit-remaining-requests", str(left_requests)),
            ("x-ratelimit-remaining-tokens", str(left_tokens)),
            ("x-ratelimit-reset-requests", duration(to_full_requests)),
            ("x-ratelimit-reset-tokens", duration(to_full_tokens)),
        ]

    def debit(self, tokens: int, now: float) -> None:
        """Book output tokens after they were produced."""
        for gauge in (*self.gauges, *self.seconds):
            if gauge.kind == "tokens":
                gauge.bucket.add(tokens, now)


class Quota:
    """The accounts of all keys and models."""

    def __init__(
        self,
        limits: Limits,
        *,
        per_model: Mapping[str, Limits] | None = None,
        per_key: Mapping[str, Limits] | None = None,
        mode: QuotaMode = "bucket",
        organization: str = "org-simulator",
    ) -> None:
        self._limits = limits
        self._per_model = dict(per_model or {})
        self._per_key = {f"Bearer {key}": each for key, each in (per_key or {}).items()}
        self._mode = mode
        self._organization = organization
        self._accounts: OrderedDict[tuple[str, str], Account] = OrderedDict()

    def account(self, key: str, model: str) -> Account:
        """The account of a key for a model, opened on first use."""
        account = self._accounts.get((key, model))
        if account is None:
            account = self._open(self._per_key.get(key) or self._per_model.get(model, self._limits))
            self._accounts[key, model] = account
            if len(self._accounts) > _MAX_ACCOUNTS:
                self._accounts.popitem(last=False)
        return account

    def admit(self, account: Account, model: str, charge: int, now: float) -> Refusal | None:
        """Charge one request and `charge` tokens, or say why not; a refusal charges nothing."""
        for gauge in account.gauges:
            amount = 1 if gauge.kind == "requests" else charge
            if not gauge.bucket.fits(amount, now):
                return self._refusal(gauge, model, amount, now)
        for gauge in account.seconds:  # one call larger than a second's share passes when the second is empty
            amount = 1 if gauge.kind == "requests" else charge
            if gauge.bucket.used(now) > 0 and not gauge.bucket.fits(amount, now):
                return self._refusal(gauge, model, amount, now)
        for gauge in (*account.gauges, *account.seconds):
            gauge.bucket.add(1 if gauge.kind == "requests" else charge, now)
        return None

    def _open(self, limits: Limits) -> Account:
        make = Window if self._mode == "sliding" else Bucket
        per_minute = make(limits.rpm, MINUTE_S)
        tokens = make(limits.tpm, MINUTE_S)
        gauges = [
            _Gauge(per_minute, "requests", "requests per min (RPM)"),
            _Gauge(tokens, "tokens", "tokens per min (TPM)"),
        ]
        requests = per_minute
        if limits.rpd is not None:
            requests = make(limits.rpd, DAY_S)
            gauges.append(_Gauge(requests, "requests", "requests per day (RPD)"))
        if limits.tpd is not None:
            gauges.append(_Gauge(make(limits.tpd, DAY_S), "tokens", "tokens per day (TPD)"))
        account = Account(requests, tokens, gauges)
        if self._mode == "burst-1s":
            account.seconds = [
                _Gauge(Bucket(max(1, limits.rpm // 60), 1.0), "requests", "requests per second"),
                _Gauge(Bucket(max(1, limits.tpm // 60), 1.0), "tokens", "tokens per second"),
            ]
        return account

    def _refusal(self, gauge: _Gauge, model: str, amount: float, now: float) -> Refusal:
        bucket = gauge.bucket
        where = f"for {model} in organization {self._organization} on {gauge.name}: Limit {bucket.limit}"
        link = "Visit https://platform.openai.com/account/rate-limits to learn more."
        if amount > bucket.limit and gauge.kind == "tokens" and bucket.window_s > 1:
            return Refusal(
                f"Request too large {where}, Requested {amount:.0f}. The input or output tokens must be reduced "
                f"in order to run successfully. {link}",
                gauge.kind,
                0.0,
            )
        used = bucket.used(now)
        if isinstance(bucket, Window):
            wait = _oldest_leaves_s(bucket, amount, now)
        else:
            wait = wait_s(bucket.limit, used, amount, bucket.window_s)
        shown = max(1, math.floor(wait * 1000 + 1e-6)) / 1000
        return Refusal(
            f"Rate limit reached {where}, Used {math.ceil(used)}, Requested {amount:.0f}. "
            f"Please try again in {duration(shown)}. {link}",
            gauge.kind,
            wait,
        )


def _oldest_leaves_s(window: Window, amount: float, now: float) -> float:
    """Seconds until enough of a sliding window has passed for `amount` to fit."""
    excess = window.used(now) + amount - window.limit
    for at, booked in window.booked():
        excess -= booked
        if excess <= 0:
            return at + window.window_s - now
    return window.window_s

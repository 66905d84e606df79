"""The shape of the configuration: a section per policy, provider, route and face.  Each field has a default.

Where a value comes from is `config.py`'s matter; what it means is its owner's.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from stanchion.keys.options import KeySettings, KeysOptions
from stanchion.policies.attempt_timeout import AttemptTimeoutOptions
from stanchion.policies.balance import BalanceOptions, LineOptions
from stanchion.policies.budget.options import BudgetOptions, BudgetSettings
from stanchion.policies.cache import CacheOptions
from stanchion.policies.coalesce import CoalesceOptions
from stanchion.policies.deadline import DeadlineOptions
from stanchion.policies.gather import GatherOptions
from stanchion.policies.hedge import HedgeOptions
from stanchion.policies.idempotency import IdempotencyOptions
from stanchion.policies.priced import PricingOptions
from stanchion.policies.rate_limit import RateLimitOptions
from stanchion.policies.resume import ResumeOptions
from stanchion.policies.retry import RetryOptions
from stanchion.policies.semantic_cache import SemanticCacheOptions
from stanchion.providers.http import HttpOptions
from stanchion.rules.breaker import BreakerOptions


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one provider's keys, each for itself and for each model; 0 is none."""

    requests_per_minute: int = 0
    requests_per_day: int = 0
    tokens_per_minute: int = 0
    tokens_per_day: int = 0
    # "start": the provider's own limits, until its answers tell better; "ceiling": never more than this
    are: Literal["start", "ceiling"] = "ceiling"


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One provider.  What is not said comes from the preset."""

    preset: str = "compatible"  # which provider it is, or "compatible" for any other
    base_url: str = ""  # with the version: "https://api.openai.com/v1"
    key_env: tuple[str, ...] = ()  # environment variables that hold its keys; several are used as one
    key_file: tuple[str, ...] = ()  # files that hold its keys
    keys: tuple[KeySettings, ...] = ()  # its keys, where more is to be said of them
    models: tuple[str, ...] | None = None  # patterns of the models it serves; an empty list is all
    headers: dict[str, str] = {}  # extra request headers
    auth: Literal["bearer", "api-key", "none"] | None = None  # how the key is sent
    done: bool | None = None  # its streams end with [DONE]
    stream_usage: bool | None = None  # it understands stream_options.include_usage
    open_most: int = 0  # calls open at once with one of its keys and one model; 0 is any number
    limits: LimitSettings = LimitSettings()  # what is known or wanted of its rate limits
    reserves_output: bool | None = None  # it charges max_tokens before it admits a call
    batches: bool | None = None  # it has a Batch API in OpenAI's shapes: /files and /batches
    batch_tokens_most: int = 0  # prompt tokens of a model that may wait in its batches; 0: as it says
    batch_poll_s: float = (
        5.0  # seconds between two looks at one of its batches, at first; at last twelve times as many
    )
    flex: bool | None = None  # it has a cheaper tier for calls that may wait, service_tier "flex"
    weight: float = 1.0  # its share of the load beside others that serve the same model


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One name that callers may ask for as a model.  Policy sections in it override the general ones."""

    balance: tuple[str, ...]  # "provider/model", shared between them by load
    fallback: tuple[str, ...] = ()  # "provider/model" or a route, one after the other when those fail
    deadline: DeadlineOptions | None = None
    retry: RetryOptions | None = None
    resume: ResumeOptions | None = None
    attempt_timeout: AttemptTimeoutOptions | None = None
    gather: GatherOptions | None = None
    hedge: HedgeOptions | None = None


class PriceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a model costs, per million tokens."""

    input: float
    output: float
    input_cached: float | None = None
    input_cache_write: float | None = None
    input_audio: float | None = None
    output_reasoning: float | None = None
    output_audio: float | None = None
    currency: Literal["usd", "cny"] = "usd"  # cny is counted in dollars at pricing.cny_per_usd


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The log of a face that runs by itself."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "plain"] = "auto"  # auto is plain at a terminal


class LedgerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of calls, and for how long."""

    keep_days: float = 90.0  # days that the line of a call is kept; 0 is for ever.  Sums are always kept
    waiting_most: int = 100_000  # lines that wait in memory while the store is lost


class GatewayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway."""

    host: str = "127.0.0.1"
    port: int = 8080
    body_most_bytes: int = 20 * 1024 * 1024  # a longer request body is refused with 413
    header_most_bytes: int = 64 * 1024  # longer request headers are refused with 431
    header_wait_s: float = 10.0  # seconds to send the headers in
    body_wait_s: float = 30.0  # seconds between two pieces of a request body
    heartbeat_s: float = 15.0  # seconds of silence after which an open stream gets a comment; 0 is never
    drain_s: float = 30.0  # seconds open calls may take to finish at shutdown
    drain_notice_s: float = 1.0  # seconds between "not ready" and refusing new calls
    connections_most: int = 10_000  # open client connections


class CallersOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call the gateway."""

    required: bool = False  # a call without a key of `stanchion callers` is refused
    lost_most_s: float = 3600.0  # seconds that the last known callers hold while their store cannot be read
    trusted_proxies: list[str] = []  # networks whose x-forwarded-for is believed
    admin_token_env: str = "STANCHION_ADMIN_TOKEN"  # noqa: S105 - a variable's name; unset: no admin API
    admin_token_file: str = ""  # a file that holds the admin token


class BatchesOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`/v1/files` and `/v1/batches`: jobs that the gateway does for its callers."""

    serve: bool = True  # whether they are there
    file_most_bytes: int = 200 * 1024 * 1024  # a larger upload is refused with 413
    caller_most_bytes: int = 2 * 1024 * 1024 * 1024  # bytes of files that one caller may keep
    keep_days: float = 30.0  # days that a file is kept, and what is known of a batch
    requests_most: int = 50_000  # requests in one batch
    jobs_most: int = 4  # batches that are done at once; the others wait
    caller_jobs_most: int = 100  # batches of one caller that have not ended
    open_most: int = 200  # calls of one batch that are open at once
    window_s: float = 86_400.0  # seconds after which a batch expires: what "24h" means


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What outlives a call, and what several processes share."""

    keys: str = (
        ""  # where replicas and `stanchion keys` meet; "" is a file in `directory` for a process that serves
    )
    callers: str = ""  # where callers and their keys are kept; "" is a file in `directory`
    ledger: str = (
        ""  # where every call and its cost is booked; "" is a file in `directory` for a process that serves
    )
    cache: list[str] = []  # where answers are kept beyond memory, the nearest first: a file, a server
    limits: str = "memory"  # where the processes that use the same keys keep the provider's limits together
    budgets: str = ""  # where money is kept together; "" is a file in `directory` for a process that serves
    # processes that share limits and budgets, at least: a store that is lost is divided by no fewer; 0 is not known
    replicas_least: int = 0
    directory: str = ""  # of files that are kept; "" is $XDG_STATE_HOME/stanchion


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be configured."""

    log: LogSettings = LogSettings()
    gateway: GatewayOptions = GatewayOptions()
    callers: CallersOptions = CallersOptions()
    batches: BatchesOptions = BatchesOptions()
    deadline: DeadlineOptions = DeadlineOptions()
    attempt_timeout: AttemptTimeoutOptions = AttemptTimeoutOptions()
    retry: RetryOptions = RetryOptions()
    resume: ResumeOptions = ResumeOptions()
    health: BreakerOptions = BreakerOptions()
    balance: BalanceOptions = BalanceOptions()
    line: LineOptions = LineOptions()
    gather: GatherOptions = GatherOptions()
    hedge: HedgeOptions = HedgeOptions()
    rate_limit: RateLimitOptions = RateLimitOptions()
    idempotency: IdempotencyOptions = IdempotencyOptions()
    cache: CacheOptions = CacheOptions()
    semantic_cache: SemanticCacheOptions = SemanticCacheOptions()
    coalesce: CoalesceOptions = CoalesceOptions()
    budget: BudgetOptions = BudgetOptions()
    http: HttpOptions = HttpOptions()
    keys: KeysOptions = KeysOptions()
    pricing: PricingOptions = PricingOptions()
    ledger: LedgerOptions = LedgerOptions()
    stores: StoreSettings = StoreSettings()
    providers: dict[str, ProviderSettings] = {}
    routes: dict[str, RouteSettings] = {}
    prices: dict[str, PriceSettings] = {}
    budgets: dict[str, BudgetSettings] = {}


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "log": LogSettings,
    "gateway": GatewayOptions,
    "callers": CallersOptions,
    "batches": BatchesOptions,
    "deadline": DeadlineOptions,
    "attempt_timeout": AttemptTimeoutOptions,
    "retry": RetryOptions,
    "resume": ResumeOptions,
    "health": BreakerOptions,
    "balance": BalanceOptions,
    "line": LineOptions,
    "gather": GatherOptions,
    "hedge": HedgeOptions,
    "rate_limit": RateLimitOptions,
    "idempotency": IdempotencyOptions,
    "cache": CacheOptions,
    "semantic_cache": SemanticCacheOptions,
    "coalesce": CoalesceOptions,
    "budget": BudgetOptions,
    "http": HttpOptions,
    "keys": KeysOptions,
    "pricing": PricingOptions,
    "ledger": LedgerOptions,
    "stores": StoreSettings,
}
TABLES: dict[str, type[msgspec.Struct]] = {
    "providers": ProviderSettings,
    "routes": RouteSettings,
    "prices": PriceSettings,
    "budgets": BudgetSettings,
}
ROUTE_SECTIONS = ("deadline", "retry", "resume", "attempt_timeout", "gather", "hedge")

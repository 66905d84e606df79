"""Where a model's requests can be sent as a batch, with which keys, in what sizes, at what price."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stanchion.core.call import Body, Call, Operation
from stanchion.core.clock import Clock
from stanchion.core.errors import UpstreamError
from stanchion.core.reply import End
from stanchion.core.trail import Attempt
from stanchion.core.usage import Usage
from stanchion.engine.books import Books
from stanchion.engine.catalog import Catalog
from stanchion.engine.prices import PriceBook
from stanchion.engine.settings import Settings
from stanchion.providers.batch_api import BatchApi
from stanchion.providers.http import HttpClient
from stanchion.providers.presets import BatchLimits
from stanchion.rules.lane_choice import Offer
from stanchion.rules.refusals import judge
from stanchion.wire.errors import ErrorFacts

_OF_BATCH = Body({"service_tier": "batch"})


class BatchPlace(msgspec.Struct, frozen=True):
    """One model at one provider that takes batches."""

    name: str  # "provider/model"
    model: str  # as it is called there
    limits: BatchLimits
    tokens_most: int  # prompt tokens that may wait in batches; 0: nobody told
    poll_s: float  # seconds between two looks at a batch, at first
    apis: Sequence[BatchApi]  # one for each key
    books: Books | None

    def url(self, operation: Operation) -> str:
        """Return what the lines of a file call an operation."""
        return f"{self.limits.prefix}/{operation.path}"

    def cost(self, usage: Usage) -> int:
        """Return what an answer from a batch cost, in micro-dollars."""
        return sum(self.books.prices.cost(self.name, self.model, usage).parts) if self.books else 0

    def book(self, operation: Operation, asked: str, usage: Usage | None, seconds: float) -> None:
        """Write an answer from a batch into the ledger, as a call that took so long."""
        if self.books is None:
            return
        call = Call(operation=operation, body=_OF_BATCH, model=asked, priority="batch")
        call.trail.attempts.append(
            Attempt(self.name, self.model, 0.0, seconds, 200, "completed", usage=usage)
        )
        self.books.accounts(call, None, End.COMPLETED, "", seconds)


def find_place(
    catalog: Catalog,
    settings: Settings,
    model: str,
    http: HttpClient,
    clock: Clock,
    books: Books | None,
) -> BatchPlace | None:
    """Return the first provider that serves a model and has a Batch API.  Raises UnknownModel."""
    for provider, there in catalog.places(_call(model)):
        limits = catalog.preset(provider).batches
        if limits is not None:
            return BatchPlace(
                f"{provider}/{there}",
                there,
                limits,
                settings.providers[provider].batch_tokens_most,
                settings.providers[provider].batch_poll_s,
                [BatchApi(spec, http, clock) for spec, _ in catalog.specs(provider, there)],
                books,
            )
    return None


def has_flex(catalog: Catalog, model: str) -> bool:
    """Say whether all who answer a model first have the tier "flex".  Raises UnknownModel."""
    first = catalog.home(_call(model)).names
    return bool(first) and all(catalog.preset(name.partition("/")[0]).flex for name in first)


def find_offer(catalog: Catalog, model: str, prices: PriceBook | None) -> Offer:
    """Say what a model costs, and which cheaper ways its providers have.  Raises UnknownModel."""
    provider, there = catalog.places(_call(model))[0]
    preset = catalog.preset(provider)
    return Offer(
        price=prices.find(f"{provider}/{there}", there) if prices is not None else None,
        batches=preset.batches is not None,
        batch_share=preset.batches.price_share if preset.batches is not None else None,
        flex=has_flex(catalog, model),
    )


def _call(model: str) -> Call:
    return Call(operation=Operation.CHAT, body=Body({}), model=model)


def passes(status: int, facts: ErrorFacts) -> bool:
    """Say whether a request that was refused like this may be answered later."""
    return judge(status, facts.code, facts.type).retryable


def is_final(error: UpstreamError) -> bool:
    """Say whether a request to the Batch API need not be repeated: it would be refused again."""
    return error.permanent or not error.retryable

"""What a job would take, before it is begun: rows, tokens, money by lane, time.

Every row is read and made a request, so what is wrong with rows is found, too.  Tokens are counted of some thousand
requests spread over the input, and reckoned up by bytes for the rest.  How long answers will be nobody knows
beforehand: they are taken as long as those of this job that are there already (`--sample` asks for some), else as
long as the requests allow, which is too much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import msgspec

from stanchion.batch.kept import answer_of
from stanchion.batch.rows import BadRow, Form, Row, Source
from stanchion.core.call import Operation
from stanchion.core.errors import CallerError, InvalidCall
from stanchion.core.usage import Usage
from stanchion.engine.model_facts import ModelFacts
from stanchion.rules.cost_bound import read_request
from stanchion.rules.lane_choice import LaneName
from stanchion.rules.pricing import cost_micro_usd
from stanchion.rules.row_key import RowKey
from stanchion.rules.tokens import encoding_of, prompt_tokens
from stanchion.stores.journal.journal import Journal
from stanchion.stores.journal.many_keys import KeySet
from stanchion.stores.journal.records import Kind

_COUNTED_MOST = 2000  # requests whose tokens are counted: about two seconds
_BAD_MOST = 1000  # bad rows that are told one by one
_MODELS_MOST = 1000
_LANES: tuple[LaneName, ...] = ("sync", "flex", "batch")
_GOLDEN, _ALL = 0x9E3779B97F4A7C15, 2**64
_decode = msgspec.json.Decoder(dict[str, Any]).decode
FactsOf = Callable[[str], ModelFacts]


class Cost(msgspec.Struct, frozen=True):
    """What the job costs in one lane."""

    lane: LaneName
    micro_usd: int | None  # None: there is no such lane, or nobody knows its price or the answers' length


class Estimate(msgspec.Struct, frozen=True):
    """What a job would take."""

    rows: int
    requests: int  # without twins, and without what is answered already
    twins: int
    answered: int  # rows that an earlier run answered
    bad: int
    problems: tuple[BadRow, ...]  # the first of the bad rows
    models: Mapping[str, int]  # requests by model
    prompt_tokens: int
    prompt_exact: bool
    answer_tokens: int | None  # in all; None: neither bounds nor answers tell
    answers_known: bool  # they are reckoned from answers that are there
    costs: tuple[Cost, ...]
    unpriced: str  # a model without a price
    eta_s: float | None  # at the limits of the settings; None: none are told there
    bound_by: str  # what of them bounds it: "requests" or "tokens"


class _Model:
    """The requests of one model, added up."""

    def __init__(self, facts: ModelFacts) -> None:
        self.facts = facts
        self.requests = self.bytes = self.counted_bytes = self.counted_tokens = self.counted = 0
        self.answer_most = 0  # tokens, of requests that say how many
        self.open_ended = 0  # answers whose requests say nothing

    @property
    def prompt(self) -> int:
        """Tokens of all prompts."""
        if not self.counted_bytes:
            return self.bytes // 4
        return round(self.bytes * self.counted_tokens / self.counted_bytes)


class Survey:
    """Reads a job's input once and says what it would take."""

    def __init__(
        self,
        source: Source,
        form: Form,
        facts: FactsOf,
        *,
        journal: Journal | None = None,
        answer_tokens: float | None = None,
        on_row: Callable[[int], None] | None = None,
    ) -> None:
        """`journal`: of earlier runs.  `answer_tokens`: how long an answer is, where that is known."""
        self._source, self._form, self._facts = source, form, facts
        self._journal, self._answer_tokens = journal, answer_tokens
        self._on_row = on_row
        self._models: dict[str, _Model] = {}
        self._problems: list[BadRow] = []
        self._count = Counter[str]()

    def run(self) -> Estimate:
        """Read all of it.  Raises OSError, StanchionError for an input that cannot be read at all."""
        rows = max(1, self._source.size())
        below = min(_ALL, _ALL * _COUNTED_MOST // rows)
        key_of = RowKey(self._form.settled)
        with closing(KeySet(None, rows)) as seen:
            for page in self._source.pages():
                for number, line in enumerate(page.lines, page.first):
                    bad = page.bad.get(number)
                    if bad is not None:
                        self._count["rows"] += 1
                        self._is_bad(bad, number)
                    elif line:
                        self._count["rows"] += 1
                        self._row(Row(number, line), key_of, seen, counted=(number * _GOLDEN) % _ALL < below)
                if self._on_row is not None:
                    self._on_row(self._count["rows"])
        return self._made()

    def _row(self, row: Row, key_of: RowKey, seen: KeySet, *, counted: bool) -> None:
        try:
            key = key_of(self._form.content(row.line))
            if self._journal is not None and self._journal.find(key):
                self._count["answered"] += 1
                return
            if key in seen:
                self._count["twins"] += 1
                return
            request = self._form.request(row)
            self._add(request.operation, request.body, counted=counted)
            seen.add(key)  # at last: a row that asks what a bad one asks is bad, too
        except CallerError as error:
            self._is_bad(error, row.number)

    def _add(self, operation: Operation, body: bytes, *, counted: bool) -> None:
        read = read_request(operation, body)
        if not read.model:
            raise InvalidCall(
                "the request names no model: write it into the row, or take --model", param="model"
            )
        model = self._models.get(read.model)
        if model is None:
            if len(self._models) >= _MODELS_MOST:
                raise InvalidCall(f"more than {_MODELS_MOST} models are named", param="model")
            model = self._models[read.model] = _Model(self._facts(read.model))
        model.requests += 1
        model.bytes += len(body)
        if read.answer is None:
            model.open_ended += read.answers
        else:
            model.answer_most += read.answer * read.answers
        if counted or not model.counted:
            model.counted += 1
            model.counted_bytes += len(body)
            model.counted_tokens += prompt_tokens(_decode(body), encoding_of(read.model))

    def _is_bad(self, error: CallerError, number: int) -> None:
        self._count["bad"] += 1
        if len(self._problems) < _BAD_MOST:
            made = (
                error if isinstance(error, BadRow) else BadRow(str(error), code=error.code, param=error.param)
            )
            made.number = made.number or number
            self._problems.append(made)

    def _made(self) -> Estimate:
        models = self._models.values()
        requests = sum(each.requests for each in models)
        answers = self._answers(requests)
        eta_s, bound_by = _eta(list(models), answers)
        return Estimate(
            rows=self._count["rows"],
            requests=requests,
            twins=self._count["twins"],
            answered=self._count["answered"],
            bad=self._count["bad"],
            problems=tuple(self._problems),
            models={name: each.requests for name, each in self._models.items()},
            prompt_tokens=sum(each.prompt for each in models),
            prompt_exact=all(each.counted == each.requests for each in models),
            answer_tokens=answers,
            answers_known=self._answer_tokens is not None,
            costs=tuple(self._cost(lane) for lane in _LANES),
            unpriced=next((each.facts.unpriced for each in models if each.facts.price is None), ""),
            eta_s=eta_s,
            bound_by=bound_by,
        )

    def _answers(self, requests: int) -> int | None:
        if self._answer_tokens is not None:
            return round(requests * self._answer_tokens)
        if any(each.open_ended for each in self._models.values()):
            return None
        return sum(each.answer_most for each in self._models.values())

    def _cost(self, lane: LaneName) -> Cost:
        """Add up what a lane costs."""
        total, known = 0, True
        for each in self._models.values():
            answers = each.answer_most
            if self._answer_tokens is not None:
                answers = round(each.requests * self._answer_tokens)
            elif each.open_ended:
                known = False
            cost = _of(each, answers, lane)
            if cost is None or not known:
                return Cost(lane, None)
            total += cost
        return Cost(lane, total)


def _of(model: _Model, answers: int, lane: LaneName) -> int | None:
    """Return what a model's requests cost in a lane; None where it has none, or no price."""
    price, offer = model.facts.price, model.facts.offer
    if price is None or (lane == "flex" and not offer.flex) or (lane == "batch" and not offer.batches):
        return None
    tier = lane if lane != "sync" and lane in price.variants else ""
    # steps for long prompts hold for one call, so they are left out here, where all calls are one sum
    flat = msgspec.structs.replace(price.at(Usage(tier=tier)), above=())
    cost = cost_micro_usd(Usage(input=model.prompt, output=answers), flat)
    if lane == "sync" or tier:
        return cost
    return round(cost * offer.batch_share) if lane == "batch" and offer.batch_share is not None else None


def _eta(models: list[_Model], answers: int | None) -> tuple[float | None, str]:
    """Return how long it takes at the limits that the settings tell, and which of them bounds it."""
    longest, bound_by = 0.0, ""
    for each in models:
        facts = each.facts
        share = (answers or 0) * each.requests / max(1, sum(other.requests for other in models))
        for name, amount, per_minute in (
            ("requests", each.requests, facts.requests_per_minute),
            ("tokens", each.prompt + share, facts.tokens_per_minute),
        ):
            if per_minute and amount * 60 / per_minute > longest:
                longest, bound_by = amount * 60 / per_minute, name
    return (longest, bound_by) if bound_by else (None, "")


def answers_so_far(journal: Journal) -> float | None:
    """Return how many tokens an answer of this job has on average; None if there is none yet."""
    tokens = count = 0
    for entry in journal.entries():
        if entry.kind == Kind.ANSWERED:
            usage = answer_of(journal.record(entry)).usage
            if usage is not None:
                tokens, count = tokens + usage.completion_tokens, count + 1
            if count == _COUNTED_MOST:
                break
    return tokens / count if count else None

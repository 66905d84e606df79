"""Each end of a call becomes lines: every attempt at its own place's price, each token once."""

from __future__ import annotations

from stanchion.core.call import Body, Call, Operation
from stanchion.core.reply import End, Head, Reply
from stanchion.core.trail import Attempt, Branch
from stanchion.core.usage import CLASSES, Usage
from stanchion.engine.accounts import Accounts
from stanchion.engine.prices import PriceBook
from stanchion.engine.settings import PriceSettings, ProviderSettings, Settings
from stanchion.observe.metrics import Metrics
from stanchion.policies.priced import PricingOptions
from stanchion.stores.ledger import SUMS, Line
from stanchion.testing import chat_call, virtual_time

SETTINGS = Settings(
    providers={
        "openai": ProviderSettings(preset="openai"),
        "dear": ProviderSettings(base_url="https://x.example/v1"),
        "home": ProviderSettings(preset="ollama"),
    },
    prices={"dear/m": PriceSettings(input=100, output=200)},
    pricing=PricingOptions(unknown_input=1, unknown_output=2),
)


class Desk:
    """Accounts whose lines are kept."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.lines = list[Line]()
        self.metrics = Metrics()
        self.accounts = Accounts(PriceBook(settings), self.metrics, self.lines.append, wall=lambda: 7200.5)

    def end(
        self, call: Call, end: End = End.COMPLETED, *, reply: Reply | None = None, code: str = ""
    ) -> None:
        self.accounts(call, reply, end, code, 1.5)

    def told(self, number: int = 0) -> dict[str, int]:
        return {
            name: value
            for name, value in zip(SUMS, self.lines[number].sums, strict=True)
            if value and name != "calls"
        }


def tried(call: Call, endpoint: str, model: str, usage: Usage | None) -> Attempt:
    attempt = Attempt(endpoint, model, 1.0, ended_at=3.0, outcome="failed", code="stream_cut")
    call.trail.attempts.append(attempt)
    if usage is not None:
        call.trail.used(usage)
    return attempt


@virtual_time
async def test_a_call_is_one_line_with_its_tokens_and_what_each_class_cost() -> None:
    desk, call = Desk(), chat_call(model="assistant", stream=True)
    tried(call, "openai/gpt-4o#KEY", "gpt-4o", Usage(input=1000, input_cached=200, output=30))
    desk.end(call)
    (line,) = desk.lines
    assert (line.call, line.number, line.asked, line.model) == (call.id, 0, "assistant", "gpt-4o")
    assert (line.endpoint, line.outcome, line.at, line.hour) == ("openai/gpt-4o#KEY", "completed", 7200.5, 2)
    assert desk.told() == {
        "attempts": 1,
        "input": 1000,
        "input_cached": 200,
        "output": 30,
        "cost_input": 2500,
        "cost_input_cached": 250,
        "cost_output": 300,
    }
    assert desk.metrics.cost.of("openai/gpt-4o#KEY").value == 3050


@virtual_time
async def test_each_attempt_is_counted_at_the_price_of_its_own_place() -> None:
    desk, call = Desk(), chat_call()
    tried(call, "dear/m", "m", Usage(input=10, output=5, estimated=True))
    tried(call, "dear/m", "m", None)  # refused: nothing was used
    tried(call, "openai/gpt-4o", "gpt-4o", Usage(output=100))
    desk.end(call)
    assert [(line.number, line.endpoint, line.outcome) for line in desk.lines] == [
        (1, "dear/m", "failed"),
        (0, "openai/gpt-4o", "completed"),
    ]
    assert desk.told(0) == {"estimated": 1, "input": 10, "output": 5, "cost_input": 1000, "cost_output": 1000}
    assert desk.told(1) == {"attempts": 3, "output": 100, "cost_output": 1000}


@virtual_time
async def test_failed_and_left_calls_and_those_without_a_provider_are_lines_too() -> None:
    desk = Desk()
    desk.end(chat_call(), End.FAILED, code="InvalidCall")
    left = chat_call()
    tried(left, "home/llama", "llama", Usage(input=9, output=1, estimated=True))
    desk.end(left, End.CANCELLED)
    async with Reply.whole(Head(endpoint="openai/gpt-4o", model="gpt-4o"), None) as reply:  # type: ignore[arg-type]
        desk.end(chat_call(), reply=reply)
    assert [(line.outcome, line.code, line.endpoint) for line in desk.lines] == [
        ("failed", "InvalidCall", ""),
        ("cancelled", "", "home/llama"),
        ("completed", "", "openai/gpt-4o"),
    ]
    assert desk.told(0) == {"failed": 1}
    assert desk.told(1) == {"cancelled": 1, "attempts": 1, "estimated": 1, "input": 9, "output": 1}
    assert desk.told(2) == {"cached": 1}


@virtual_time
async def test_what_is_used_after_the_end_becomes_a_line_when_it_is_known() -> None:
    desk, call = Desk(), chat_call()
    call.trail.attempts.append(Attempt("openai/gpt-4o", "gpt-4o", 1.0))
    desk.end(call, End.CANCELLED)
    call.trail.used(Usage(input=400))
    tried(call, "openai/gpt-4o", "gpt-4o", Usage(output=100))  # a further attempt for the others who read
    assert [(line.number, desk.told(n)) for n, line in enumerate(desk.lines)] == [
        (0, {"cancelled": 1, "attempts": 1}),
        (1, {"input": 400, "cost_input": 1000}),
        (2, {"attempts": 1, "output": 100, "cost_output": 1000}),
    ]
    assert sum(line.sums[0] for line in desk.lines) == 1


def raced(call: Call, *places: tuple[str, bool]) -> list[Branch]:
    """Begin attempts beside each other; the second of them is a hedge."""
    branches = list[Branch]()
    for number, (endpoint, lost) in enumerate(places):
        branches.append(Branch.of(call.trail, lambda _: None))
        branches[-1].began(Attempt(endpoint, "m", 1.0, ended_at=3.0, hedge=number > 0, lost=lost))
    return branches


@virtual_time
async def test_of_two_attempts_the_call_is_the_winners_and_the_loser_is_a_line_of_its_own() -> None:
    desk, call = Desk(), chat_call(model="assistant", stream=True)
    won, lost = raced(call, ("dear/m#A", False), ("dear/m#B", True))
    lost.used(Usage(input=7, estimated=True))  # the loser ends first
    won.used(Usage(input=10, output=5))
    desk.end(call)
    told = {(line.endpoint, line.number): desk.told(at) for at, line in enumerate(desk.lines)}
    assert told == {
        ("dear/m#B", 2): {"estimated": 1, "input": 7, "cost_input": 700},
        ("dear/m#A", 0): {"attempts": 2, "input": 10, "output": 5, "cost_input": 1000, "cost_output": 1000},
    }
    assert [line.sums[0] for line in desk.lines] == [0, 1]  # and it is one call


@virtual_time
async def test_a_loser_that_closes_late_becomes_a_line_when_it_is_known() -> None:
    desk, call = Desk(), chat_call(model="assistant", stream=True)
    lost, won = raced(call, ("dear/m#A", True), ("dear/m#B", False))
    won.used(Usage(input=10))
    desk.end(call)
    lost.used(Usage(input=7, estimated=True))
    assert [(line.endpoint, line.number) for line in desk.lines] == [("dear/m#B", 0), ("dear/m#A", 1)]
    assert desk.told(1) == {"estimated": 1, "input": 7, "cost_input": 700}


@virtual_time
async def test_an_unknown_price_is_counted_as_the_settings_say_and_told() -> None:
    desk, call = Desk(), chat_call()
    tried(call, "dear/other", "other", Usage(input=1000, output=1000))
    desk.end(call)
    assert desk.told() == {
        "attempts": 1,
        "unpriced": 1,
        "input": 1000,
        "output": 1000,
        "cost_input": 1000,
        "cost_output": 2000,
    }
    assert desk.metrics.unpriced.of("dear/other").value == 1


@virtual_time
async def test_the_tier_is_the_one_that_served_or_the_asked_one_if_nobody_told() -> None:
    desk = Desk()
    for usage in (Usage(output=100), Usage(output=100, tier="priority"), Usage(output=100, estimated=True)):
        call = chat_call()
        call = call.having(body=Body({**call.body.fields, "service_tier": "priority"}))
        tried(call, "openai/gpt-4o", "gpt-4o", usage)
        desk.end(call)
    assert [line.tier for line in desk.lines] == ["", "priority", "priority"]
    assert [line.sums[SUMS.index("cost_output")] for line in desk.lines] == [1000, 1700, 1700]


@virtual_time
async def test_what_callers_and_providers_make_up_is_bounded() -> None:
    desk = Desk()
    for number in range(10_100):
        call = chat_call().having(model=f"m\0\ud800{'x' * 500}{number}", caller=f"address {number}")
        tried(call, f"dear/m{number}", "m", Usage(input=10**30))
        desk.end(call)
    assert len({line.endpoint for line in desk.lines}) == len({line.caller for line in desk.lines}) == 10_001
    assert desk.lines[-1].endpoint == desk.lines[-1].caller == "other"
    assert all(len(line.asked) <= 200 and "\0" not in line.asked for line in desk.lines)
    assert desk.lines[0].asked.encode().startswith(b"m?xxx")
    assert max(max(line.sums) for line in desk.lines) < 2**53
    assert len(desk.lines[0].sums) == len(SUMS) == 7 + 2 * len(CLASSES)
    known = chat_call().having(caller="the 10,101st", caller_key="k1", team="t")
    desk.end(known)
    assert (desk.lines[-1].caller, desk.lines[-1].key, desk.lines[-1].team) == ("the 10,101st", "k1", "t")


@virtual_time
async def test_a_list_of_models_is_no_line() -> None:
    desk = Desk()
    desk.end(Call(operation=Operation.MODELS, body=Body({}), model="openai/*"))
    assert desk.lines == []

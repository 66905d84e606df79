"""A planted key, and a planted prompt: whatever fails, and however it is shown, they are seen nowhere.

The key may leave by one door, the Authorization header to its provider; a provider that repeats it is blanked.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from stanchion.core.call import Body, Operation, json_call
from stanchion.core.errors import StanchionError
from stanchion.core.secret import Secret
from stanchion.engine.config import load
from stanchion.engine.engine import Engine
from stanchion.simulator import Simulator, SimulatorOptions, Timing
from stanchion.simulator.errors import CODES
from tests.acceptance.raw_client import Answer, ask
from tests.acceptance.stage import KEY, QUICK, Gateway, Provider, provider

PROMPT = "the-planted-prompt-4d1c"
MINE = "sk-of-the-caller-93b1"
HASTY = "[attempt_timeout]\nfirst_token_s = 0.3\nstall_s = 0.3\ntotal_s = 0.6\n"
PLAIN = QUICK.replace("attempts = 2", "attempts = 1") + HASTY
FAULTS = [
    "ok",
    "echo_key",
    "400",
    "401",
    "429:retry_after=9",
    "500",
    "reset",
    "silence",
    "stall:3",
    "cut:3",
    "cut:3,end=abort",
    "cut_bytes:40",
    "malformed:3",
    "error_event:3",
    "no_finish",
    "empty_choices",
    "error_body",
    "html",
    "empty",
    *CODES,
]
# pieces of it would be as bad: what a log shortens in the middle still tells
PIECES = [KEY[:16], KEY[-12:], KEY.removeprefix("sk-")[:12]]


def asked(*, stream: bool, model: str = "gpt-4o") -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": stream,
        "max_tokens": 8,
    }


def assert_clean(text: str, where: str, *, prompt: bool = True) -> None:
    for piece in PIECES:
        assert piece not in text, f"the key is in {where}"
    assert MINE not in text, f"the caller's key is in {where}"
    if prompt:
        assert PROMPT not in text, f"the prompt is in {where}"


# --- in the process ----------------------------------------------------------------------------------


class Lines(logging.Handler):
    """Every record of every logger, with its facts."""

    def __init__(self) -> None:
        super().__init__(0)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [logging.Formatter().format(record), repr(vars(record))]


@pytest.fixture
def lines() -> Iterator[Lines]:
    root, handler = logging.getLogger(), Lines()
    before = root.level
    root.addHandler(handler)
    root.setLevel(0)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


async def shown_of(engine: Engine, *, stream: bool) -> tuple[list[str], StanchionError | None]:
    """Ask; return all that can be shown of what came of it, the answer's own words left out."""
    call = json_call(Operation.CHAT, Body(asked(stream=stream)), caller="c")
    shown, reply = [repr(call), str(call), repr(call.trail), repr(call.body)], None
    try:
        async with await engine(call) as reply:
            async for chunk in reply:
                shown += [repr(chunk), str(chunk)]
    except StanchionError as error:
        return [*shown, *shown_of_error(error)], error
    finally:
        shown += [repr(reply), repr(reply and reply.head), repr(call.trail)]
    return shown, None


def shown_of_error(error: StanchionError) -> list[str]:
    again = pickle.loads(pickle.dumps(error))
    said = [str(error), repr(error), "".join(traceback.format_exception(error)), repr(pickle.dumps(error))]
    return [*said, str(again), repr(vars(again)), repr(getattr(error, "__notes__", ()))]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_that_can_be_shown_shows_them(tmp_path, lines: Lines, fault: str, *, stream: bool):
    file = tmp_path / "stanchion.toml"
    async with Simulator(SimulatorOptions(timing=Timing(tokens_per_s=500.0), faults=(fault,))) as sim:
        file.write_text(PLAIN + provider("one", sim.base_url))
        loaded = load(file, environ={"CANARY_KEY": KEY})
        async with Engine(loaded) as engine:
            shown, error = await shown_of(engine, stream=stream)
            shown += [repr(loaded), repr(loaded.settings), repr(engine), repr(vars(engine))]
            for slot in engine.keys.slots.values():
                shown += [repr(slot), repr(vars(slot)), repr(slot.active), repr(vars(slot.source))]
                shown += [repr(slot.spec), repr(slot.active and slot.active.prepared)]
    for text in shown:
        assert_clean(text, "what is shown")
    if error is not None:
        with_locals = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
        assert_clean(with_locals, "a traceback with locals", prompt=False)
        assert_clean(f"{error.__dict__}", "the error's facts", prompt=False)
    assert lines.lines
    for line in lines.lines:
        assert_clean(line, "a log line")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/v1", "https://127.0.0.1:9/v1", "http://nobody.invalid/v1"]
)
async def test_a_provider_that_cannot_be_reached_shows_nothing(tmp_path, lines: Lines, url: str):
    file = tmp_path / "stanchion.toml"
    file.write_text(PLAIN + provider("one", url))
    async with Engine(load(file, environ={"CANARY_KEY": KEY})) as engine:
        shown, error = await shown_of(engine, stream=False)
    assert error is not None
    shown += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    for text in shown:
        assert_clean(text, "what is shown", prompt=False)
    assert_clean("".join(lines.lines), "the log")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_is_cancelled_shows_nothing(tmp_path, lines: Lines, *, stream: bool):
    file = tmp_path / "stanchion.toml"
    async with Simulator(SimulatorOptions(faults=("silence",))) as sim:
        file.write_text(provider("one", sim.base_url))
        async with Engine(load(file, environ={"CANARY_KEY": KEY})) as engine:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.1):
                    await shown_of(engine, stream=stream)
    seen = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert_clean("".join(seen.format()), "a traceback with locals", prompt=False)
    assert_clean("".join(lines.lines), "the log")


def test_a_secret_and_what_it_is_sent_in_do_not_show_it():
    secret = Secret(KEY)
    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r}",
        repr([secret]),
        repr({1: secret}),
    ):
        assert_clean(shown, "a secret")
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize("bad", [f"{KEY} {KEY}", f"{KEY}\n{KEY}", f"{KEY}\x00"])
async def test_settings_that_hold_a_bad_key_do_not_tell_it(tmp_path, bad: str):
    file = tmp_path / "stanchion.toml"
    file.write_text(provider("one", "http://127.0.0.1:9/v1"))
    loaded = load(file, environ={"CANARY_KEY": bad})
    with pytest.raises(StanchionError) as caught:
        async with Engine(loaded):
            pass
    for text in shown_of_error(caught.value):
        assert_clean(text, "an error of the settings")


# --- as a process ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Provider, Gateway]]:
    """A gateway that logs all it can."""
    with Provider(SimulatorOptions(timing=Timing(tokens_per_s=500.0))) as one:
        settings = PLAIN + provider("one", one.base_url)
        with Gateway(tmp_path_factory.mktemp("talkative"), settings, log_level="debug") as running:
            yield one, running


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_answer_of_a_gateway_holds_the_key(talkative: tuple[Provider, Gateway], fault: str):
    one, gateway = talkative
    for stream in (False, True):
        one.plan(fault)
        model = f"one/canary-{FAULTS.index(fault)}-{stream}"
        headers = {"authorization": f"Bearer {MINE}"}
        seen = await ask(gateway.port, asked(stream=stream, model=model), headers=headers)
        assert_clean(everything(seen), "an answer", prompt=False)
        if fault == "echo_key":
            assert "[key]" in seen.error["message"], "it is blanked where the provider repeated it"


async def test_no_answer_to_a_wrong_request_holds_them(talkative: tuple[Provider, Gateway]):
    _, gateway = talkative
    headers = {"authorization": f"Bearer {MINE}"}
    for body in (
        PROMPT.encode(),
        {"model": 1, "user": PROMPT},
        {"model": "gpt-4o", "messages": PROMPT},
        {"user": PROMPT},
    ):
        assert_clean(everything(await ask(gateway.port, body, headers=headers)), "an answer")


def test_no_page_and_no_log_of_a_gateway_holds_them(talkative: tuple[Provider, Gateway]):
    """Stands last: by now all of the above has been logged."""
    _, gateway = talkative
    for path in ("/metrics", "/", "/healthz", "/readyz", "/v1/models"):
        assert_clean(gateway.get(path)[1], path)
    assert gateway.metric("stanchion_calls_total") >= len(FAULTS)
    gateway.__exit__(None, None, None)
    assert gateway.log.count("call.ended") >= len(FAULTS)
    assert_clean(gateway.log, "the log")


def everything(seen: Answer) -> str:
    return repr(seen.headers) + seen.body.decode("utf-8", "replace")

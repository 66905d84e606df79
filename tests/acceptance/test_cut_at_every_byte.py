"""A recorded answer that stops at byte k, for every k: it is never taken for the whole.

The server ends cleanly (as a proxy does that lost its provider) or breaks off.  Through the engine it is
every byte; through a gateway and the official SDK a sample.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from stanchion.core.call import Body, Operation, json_call
from stanchion.core.errors import Cut, Refused, Silent, Unusable
from stanchion.core.reply import End
from stanchion.engine.config import Loaded
from stanchion.engine.engine import Engine
from stanchion.engine.settings import ProviderSettings, Settings
from stanchion.policies.retry import RetryOptions
from stanchion.rules.breaker import BreakerOptions
from tests.acceptance.raw_client import ask
from tests.acceptance.stage import ASKED, QUICK, Gateway, LoopThread, provider
from tests.integration.raw_server import RawServer, Visit

DATA = Path(__file__).parents[1] / "data"
STREAM = (DATA / "chat_stream.sse").read_bytes()
CRLF = STREAM.replace(b"\n", b"\r\n")
RESPONSES = (DATA / "responses_stream.sse").read_bytes()
WHOLE = (DATA / "chat_whole.json").read_bytes()
FINISHED = STREAM.index(b"\n\n", STREAM.index(b'"finish_reason":"length"')) + 2

# seven in a row, in steps as large as a test may take
pytestmark = pytest.mark.timeout(60)


@dataclass
class Script:
    """What the server says next."""

    data: bytes = STREAM
    cut_at: int = 0
    abort: bool = False
    streamed: bool = True


class CutServer(RawServer):
    """Says the script's data up to the cut, in two pieces."""

    def __init__(self) -> None:
        super().__init__(self._say)
        self.script = Script()
        self._chance = random.Random(1)

    async def _say(self, visit: Visit) -> None:
        script = self.script
        data, abort = script.data[: script.cut_at], script.abort
        if not script.streamed:
            length = len(script.data) if abort else len(data)
            visit.say(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % length,
                data,
            )
        else:
            visit.begin_stream()
            middle = self._chance.randrange(len(data) + 1)
            for piece in (data[:middle], data[middle:]):
                if piece:
                    visit.say_chunk(piece)
                    await visit.flush()
                    await asyncio.sleep(0)
        if not abort:
            if script.streamed:
                visit.end_stream()
            return
        await visit.flush()
        visit.close()


@pytest.fixture
async def server() -> AsyncIterator[CutServer]:
    async with CutServer() as running:
        yield running


def engine_over(server: CutServer, *, done: bool = True) -> Engine:
    settings = Settings(
        providers={"cut": ProviderSettings(base_url=server.base_url, auth="none", done=done)},
        retry=RetryOptions(attempts=1),
        health=BreakerOptions(failures=10**9),
    )
    return Engine(Loaded(settings, {}, None, False, {}))


async def outcome(engine: Engine, script: Script, operation: Operation = Operation.CHAT) -> bytes | None:
    """Ask and read to the end: what came if it was a success, else None."""
    asked = {"messages": ASKED} if operation is Operation.CHAT else {"input": "?"}
    options = (
        {"stream_options": {"include_usage": True}} if operation is Operation.CHAT and script.streamed else {}
    )
    call = json_call(operation, Body({"model": "gpt-4o", **asked, "stream": script.streamed, **options}))
    reply = None
    try:
        async with await engine(call) as reply:
            return await reply.read_whole()
    except (Cut, Silent, Unusable, Refused):
        assert reply is None or reply.end is End.FAILED
        return None


@pytest.mark.parametrize("abort", [False, True], ids=["clean", "abort"])
@pytest.mark.parametrize("data", [STREAM, CRLF], ids=["lf", "crlf"])
async def test_a_stream_cut_at_any_byte_is_never_a_success(server: CutServer, data: bytes, *, abort: bool):
    async with engine_over(server) as engine:
        for cut_at in range(len(data.rstrip())):
            server.script = Script(data, cut_at, abort)
            assert await outcome(engine, server.script) is None, f"cut at byte {cut_at}"
        server.script = Script(data, len(data), abort)
        assert (await outcome(engine, server.script) or b"").replace(b"\r\n", b"\n") == STREAM


@pytest.mark.parametrize("abort", [False, True], ids=["clean", "abort"])
async def test_a_stream_of_the_responses_api_cut_at_any_byte_is_never_a_success(
    server: CutServer, *, abort: bool
):
    last = RESPONSES.rindex(b"}") + 1
    async with engine_over(server) as engine:
        for cut_at in range(last):
            server.script = Script(RESPONSES, cut_at, abort)
            assert await outcome(engine, server.script, Operation.RESPONSES) is None, f"cut at byte {cut_at}"
        server.script = Script(RESPONSES, len(RESPONSES), abort)
        assert await outcome(engine, server.script, Operation.RESPONSES) == RESPONSES


@pytest.mark.parametrize("abort", [False, True], ids=["clean", "abort"])
async def test_a_stream_without_done_is_a_success_only_from_its_finish_reason_on(
    server: CutServer, *, abort: bool
):
    """Some providers never send [DONE]: then a clean end after the finish_reason is the end."""
    data = STREAM.removesuffix(b"data: [DONE]\n\n")
    async with engine_over(server, done=False) as engine:
        for cut_at in range(len(data) + 1):
            server.script = Script(data, cut_at, abort)
            got = await outcome(engine, server.script)
            whole_events = data[:cut_at].endswith(b"\n\n")
            if abort or cut_at < FINISHED or not whole_events:
                assert got is None or (not abort and cut_at > FINISHED and not data[FINISHED:cut_at].strip())
            else:
                assert got == data[:cut_at] + b"data: [DONE]\n\n"


@pytest.mark.parametrize("abort", [False, True], ids=["clean", "abort"])
async def test_a_whole_answer_cut_at_any_byte_is_never_a_success(server: CutServer, *, abort: bool):
    async with engine_over(server) as engine:
        for cut_at in range(len(WHOLE)):
            server.script = Script(WHOLE, cut_at, abort, streamed=False)
            assert await outcome(engine, server.script) is None, f"cut at byte {cut_at}"
        server.script = Script(WHOLE, len(WHOLE), abort=False, streamed=False)
        assert await outcome(engine, server.script) == WHOLE


# --- through the gateway -----------------------------------------------------------------------------


class CutThread(LoopThread):
    """The server in a thread."""

    def __enter__(self) -> CutThread:
        super().__enter__()
        self.server = self.do(CutServer)
        self.run(self.server.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self.run(self.server.__aexit__())
        super().__exit__(None, None, None)


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CutServer, Gateway]]:
    with CutThread() as thread:
        settings = QUICK.replace("attempts = 2", "attempts = 1") + provider("cut", thread.server.base_url)
        with Gateway(tmp_path_factory.mktemp("cut"), settings) as gateway:
            yield thread.server, gateway


SAMPLE = sorted(
    {*range(0, len(STREAM), 41), FINISHED - 1, FINISHED, FINISHED + 1, len(STREAM) - 16, len(STREAM) - 3}
)


@pytest.mark.parametrize("abort", [False, True], ids=["clean", "abort"])
def test_the_sdk_behind_a_gateway_never_takes_a_cut_stream_for_whole(
    through: tuple[CutServer, Gateway], *, abort: bool
):
    server, gateway = through
    with OpenAI(base_url=gateway.base_url, api_key="sk-mine", max_retries=0) as sdk:
        for cut_at in SAMPLE:
            server.script = Script(STREAM, cut_at, abort)
            with pytest.raises(openai.APIError):
                for _ in sdk.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True):
                    pass
        server.script = Script(STREAM, len(STREAM), abort)
        chunks = list(sdk.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True))
        assert chunks[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize("abort", [False, True], ids=["clean", "abort"])
async def test_no_client_of_a_gateway_sees_a_proper_end_of_a_cut_stream(
    through: tuple[CutServer, Gateway], *, abort: bool
):
    server, gateway = through
    for cut_at in SAMPLE:
        server.script = Script(STREAM, cut_at, abort)
        seen = await ask(gateway.port, {"model": "gpt-4o", "messages": ASKED, "stream": True})
        if seen.status == 200:
            assert (seen.whole, seen.done) == (False, False)
            assert seen.error["code"] in ("stream_cut", "reset_in_answer")
        else:
            assert (seen.whole, seen.status) == (True, 502)


@pytest.mark.parametrize("abort", [False, True], ids=["clean", "abort"])
def test_the_sdk_behind_a_gateway_never_takes_half_an_answer_for_whole(
    through: tuple[CutServer, Gateway], *, abort: bool
):
    server, gateway = through
    with OpenAI(base_url=gateway.base_url, api_key="sk-mine", max_retries=0) as sdk:
        for cut_at in range(0, len(WHOLE), 13):
            server.script = Script(WHOLE, cut_at, abort, streamed=False)
            with pytest.raises(openai.InternalServerError):
                sdk.chat.completions.create(model="gpt-4o", messages=ASKED)

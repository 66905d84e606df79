"""Where clients run: repeated loops, threads, forks, blocking code; and that nothing is left at the end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from stanchion import AsyncClient, Client, Cut, SettingsError
from stanchion.simulator import Simulator, SimulatorOptions, Timing


class Running:
    """A simulator in a thread of its own."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.loop = asyncio.new_event_loop()
        self.sim = Simulator(options)
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.run(self.sim.start())

    def run(self, job):
        return asyncio.run_coroutine_threadsafe(job, self.loop).result(5)

    def settled(self, condition, within_s: float = 2.0) -> None:
        async def wait() -> None:
            async with asyncio.timeout(within_s):
                while not condition(self.sim):  # noqa: ASYNC110 - the other end of a socket tells nobody
                    await asyncio.sleep(0.005)

        self.run(wait())

    def close(self) -> None:
        self.run(self.sim.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running(SimulatorOptions())
    yield made
    made.close()


@pytest.fixture
def slow() -> Iterator[Running]:
    made = Running(SimulatorOptions(timing=Timing(tokens_per_s=20.0)))
    yield made
    made.close()


def script(text: str, base_url: str) -> str:
    """Run a program under all warnings and return what it printed; it must say nothing else."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", text, base_url],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.strip()


def test_one_client_lives_through_many_loops(running: Running):
    said = script(
        """
import asyncio, gc, sys
from stanchion import AsyncClient
client = AsyncClient(base_url=sys.argv[1])
async def ask():
    async for delta in client.stream("Hello", model="gpt-4o"):
        break
    return (await client.chat("Hello", model="gpt-4o")).text
print(len({asyncio.run(ask()) for _ in range(5)}))
gc.collect()
assert not client.homes.engines
""",
        running.sim.base_url,
    )
    assert said == "1"
    running.settled(lambda sim: sim.open_connections == 0)


def test_a_loop_that_was_closed_by_force_is_forgotten(running: Running):
    client = AsyncClient(base_url=running.sim.base_url)

    async def ask() -> None:
        await client.chat("Hello", model="gpt-4o")

    asyncio.run(ask())
    asyncio.run(ask())
    assert client.homes.engines == {}


def test_one_client_serves_many_threads(running: Running):
    client = AsyncClient(base_url=running.sim.base_url)
    blocking = Client(base_url=running.sim.base_url)

    def ask(number: int) -> str:
        if number % 2:
            return blocking.chat("Hello", model="gpt-4o").text

        async def one() -> str:
            return (await client.chat("Hello", model="gpt-4o")).text

        return asyncio.run(one())

    with blocking, ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(32)))) == 1
    running.settled(lambda sim: sim.open_connections == 0)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this platform does not fork")
def test_clients_work_on_both_sides_of_a_fork(running: Running):
    said = script(
        """
import asyncio, os, sys, warnings
warnings.filterwarnings("ignore", category=DeprecationWarning)  # a fork beside threads is what is tested
from stanchion import AsyncClient, Client
client = Client(base_url=sys.argv[1])
other = AsyncClient(base_url=sys.argv[1])
async def ask():
    return (await other.chat("Hello", model="gpt-4o")).text
before = client.chat("Hello", model="gpt-4o").text
assert asyncio.run(ask()) == before
child = os.fork()
assert client.chat("Hello", model="gpt-4o").text == before
assert asyncio.run(ask()) == before
assert "".join([delta.text for delta in client.stream("Hello", model="gpt-4o")]) == before
if child == 0:
    client.close()
    sys.stdout.flush()
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
assert client.chat("Hello", model="gpt-4o").text == before
""",
        running.sim.base_url,
    )
    assert said == "7"
    running.settled(lambda sim: sim.open_connections == 0)


def test_a_program_that_forgets_to_close_ends_cleanly(running: Running):
    said = script(
        """
import sys
from stanchion import Client
client = Client(base_url=sys.argv[1])
print(bool(client.chat("Hello", model="gpt-4o").text))
""",
        running.sim.base_url,
    )
    assert said == "True"
    running.settled(lambda sim: sim.open_connections == 0)


def test_an_interrupt_ends_the_call_at_the_provider(running: Running):
    running.sim.faults.set(["silence"])
    said = script(
        """
import os, signal, sys, threading
from stanchion import Client
client = Client(base_url=sys.argv[1])
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    client.chat("Hello", model="gpt-4o")
except KeyboardInterrupt:
    print("interrupted", client.chat("Hello", model="gpt-4o").finish_reason)
""",
        running.sim.base_url,
    )
    assert said == "interrupted stop"
    running.settled(lambda sim: sim.running_calls == 0)


def test_the_blocking_client_says_what_the_async_one_says(running: Running):
    async def ask() -> tuple[str, int]:
        async with AsyncClient(base_url=running.sim.base_url) as client:
            return (await client.chat("Hello", model="gpt-4o")).text, len(await client.models())

    text, models = asyncio.run(ask())
    with Client(base_url=running.sim.base_url) as client:
        assert client.chat("Hello", model="gpt-4o").text == text
        assert client.responses("Hello", model="gpt-4o").status == "completed"
        assert len(client.embed("Hello", model="text-embedding-3-small").vector) > 1
        assert len(client.models()) == models
        with client.stream("Hello", model="gpt-4o", deadline_s=5) as stream:
            assert "".join([delta.text for delta in stream]) == text
        assert stream.complete
        assert stream.reply().text == stream.text == text
        assert stream.usage == stream.reply().usage
        assert (stream.model, stream.endpoint, stream.finish_reason) == ("gpt-4o", "openai/gpt-4o", "stop")
        assert stream.timing.total_s > 0
        assert (stream.cost, len(stream.attempts)) == (None, 1)
        with client.stream_responses("Hello", model="gpt-4o") as told:
            assert [delta.name for delta in told][-1] == "response.completed"


@pytest.mark.parametrize("way", ["break", "enter"])
def test_whoever_leaves_a_blocking_stream_ends_it_at_the_provider(slow: Running, way: str):
    with Client(base_url=slow.sim.base_url) as client:
        if way == "break":
            for _ in client.stream("Hello", model="gpt-4o"):
                break
        else:
            with client.stream("Hello", model="gpt-4o") as stream:
                next(iter(stream))
        slow.settled(lambda sim: sim.open_streams == 0, within_s=0.5)


def test_a_cut_stream_is_never_a_success_in_blocking_code(slow: Running):
    slow.sim.faults.set(["cut:3,times=0"])
    with Client(base_url=slow.sim.base_url) as client:
        with pytest.raises(Cut), client.stream("Hello", model="gpt-4o", resume="error") as stream:
            list(stream)
        assert not stream.complete


def test_a_client_without_a_provider_says_what_to_do(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DEEPSEEK_API_KEY", "DASHSCOPE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for kind in (Client, AsyncClient):
        with pytest.raises(SettingsError, match=r"OPENAI_API_KEY.*stanchion\.toml.*stanchion simulate"):
            kind()


def test_importing_the_package_loads_no_network_library():
    said = script(
        "import sys, stanchion\nprint([m for m in ('aiohttp', 'asyncio', 'socket', 'ssl') if m in sys.modules])",
        "",
    )
    assert said == "[]"

"""`stanchion serve` and `config` as processes: what a user and a service manager see of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stanchion.simulator import SimulatorOptions, Timing
from tests.acceptance.served import Served, children, run, runs, wait_for
from tests.acceptance.stage import Provider

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def settings(provider: Provider, *more: str) -> str:
    return "\n".join(
        (
            "[providers.one]",
            f'base_url = "{provider.base_url}"',
            'auth = "none"',
            *more,
        )
    )


def test_without_a_provider_the_simulator_answers_and_says_so(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        with served.ask() as whole:
            answer = json.load(whole)
            assert whole.headers["x-stanchion-provider"] == "simulator"
        assert answer["choices"][0]["message"]["content"]
        assert answer["usage"]["completion_tokens"] > 0
        with served.ask(stream=True) as stream:
            events = stream.read().decode()
        assert events.count("data: ") > 3
        assert events.endswith("data: [DONE]\n\n")
        wait_for(lambda: served.events("call.ended"))
        assert "OPENAI_API_KEY" in served.events("simulator.answers")[0]["advice"]
        assert served.events("gateway.listening")[0]["address"] == served.origin
    assert served.process.returncode == 0


@needs_proc
def test_the_simulator_ends_with_the_gateway_even_if_that_is_killed(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        (child,) = children(served.process.pid)
        served.process.kill()
        served.process.wait()
        wait_for(lambda: not runs(child))


@needs_proc
def test_a_simulator_that_dies_is_started_again_at_the_same_address(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        (child,) = children(served.process.pid)
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: served.events("simulator.started_again"))
        assert served.events("simulator.died")
        with served.ask() as whole:
            assert whole.status == 200


@needs_proc
def test_with_a_provider_no_simulator_runs(tmp_path: Path) -> None:
    with Provider() as provider:
        (tmp_path / "stanchion.toml").write_text(settings(provider))
        with Served(tmp_path) as served:
            assert children(served.process.pid) == []
            with served.ask() as whole:
                assert whole.headers["x-stanchion-provider"] != "simulator"
            assert provider.calls
            assert not served.events("simulator.answers")


@needs_proc
def test_a_crash_would_leave_no_dump_of_keys_and_prompts(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        limits = Path(f"/proc/{served.process.pid}/limits").read_text()
    (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core.split()[4:6] == ["0", "0"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_an_open_stream_finish_and_ends_well(tmp_path: Path, number: signal.Signals) -> None:
    with Provider(SimulatorOptions(timing=Timing(tokens_per_s=60))) as provider:
        (tmp_path / "stanchion.toml").write_text(settings(provider))
        with Served(tmp_path) as served, served.ask("A long story, please", stream=True) as stream:
            assert stream.readline().startswith(b"data: ")
            served.process.send_signal(number)
            assert stream.read().endswith(b"data: [DONE]\n\n")
            assert served.process.wait(10) == 0
            assert served.events("gateway.draining")[0]["open"] == 1


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with Provider(SimulatorOptions(timing=Timing(tokens_per_s=1))) as provider:
        (tmp_path / "stanchion.toml").write_text(settings(provider))
        with Served(tmp_path) as served, served.ask(stream=True) as stream:
            assert stream.readline().startswith(b"data: ")
            served.process.send_signal(signal.SIGTERM)
            wait_for(lambda: served.events("gateway.draining"))
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(5) == 0


def test_sighup_takes_a_changed_file(tmp_path: Path) -> None:
    with Provider() as provider:
        file = tmp_path / "stanchion.toml"
        file.write_text(settings(provider))
        with Served(tmp_path) as served:
            route = ("[routes.helper]", 'balance = ["one/gpt-4o"]')
            file.write_text(settings(provider, *route))
            served.process.send_signal(signal.SIGHUP)
            wait_for(lambda: served.events("settings.taken"))
            with served.ask(model="helper") as whole:
                assert json.load(whole)["model"] == "gpt-4o"


def test_a_changed_file_is_noticed_without_a_signal(tmp_path: Path) -> None:
    with Provider() as provider:
        file = tmp_path / "stanchion.toml"
        file.write_text(settings(provider))
        with Served(tmp_path) as served:
            file.write_text(settings(provider, "[retry]", "attempts = 7"))
            wait_for(lambda: served.events("settings.taken"))


def test_a_bad_new_file_keeps_the_old_settings_and_says_so(tmp_path: Path) -> None:
    with Provider() as provider:
        file = tmp_path / "stanchion.toml"
        file.write_text(settings(provider))
        with Served(tmp_path) as served:
            file.write_text(settings(provider, "[retry]", "atempts = 7"))
            served.process.send_signal(signal.SIGHUP)
            wait_for(lambda: served.events("settings.refused"))
            refused = served.events("settings.refused")[0]
            assert "did you mean 'attempts'?" in refused["why"]
            assert refused["level"] == "error"
            with served.ask() as whole:
                assert whole.status == 200


def test_a_file_that_loses_its_last_provider_gets_the_simulator(tmp_path: Path) -> None:
    with Provider() as provider:
        file = tmp_path / "stanchion.toml"
        file.write_text(settings(provider))
        with Served(tmp_path) as served:
            file.write_text("[retry]\nattempts = 2\n")
            served.process.send_signal(signal.SIGHUP)
            wait_for(lambda: served.events("settings.taken"))
            with served.ask() as whole:
                assert whole.status == 200
            assert provider.calls == []


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run(tmp_path, "serve", "--port", port, "--log-level", "error")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"cannot listen at 127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--config", "nowhere.toml"), "there is no configuration file nowhere.toml"),
        (("--set", "retry.atempts=3"), "did you mean 'attempts'?"),
        (("--set", "gateway.drain_s=soon"), "gateway.drain_s in the command line"),
        (("--host", "no-such-host.invalid"), "no-such-host.invalid"),
        (("--set", "http.ca_file=nowhere.pem"), "nowhere.pem"),
    ],
)
def test_what_cannot_work_is_one_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run(tmp_path, "serve", "--port", "0", "--log-level", "error", *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_listening_beyond_this_machine_is_warned_of(tmp_path: Path) -> None:
    with Served(tmp_path, "--host", "0.0.0.0") as served:
        wait_for(lambda: served.events("gateway.open_to_the_network"))
        assert served.events("gateway.open_to_the_network")[0]["host"] == "0.0.0.0"


def test_the_log_is_plain_when_asked_for(tmp_path: Path) -> None:
    with Served(tmp_path, "--log-format", "plain") as served:
        wait_for(lambda: "gateway.listening address=" in served.log)
        assert not served.log.startswith("{")


def test_config_check_names_the_nearest_key(tmp_path: Path) -> None:
    (tmp_path / "stanchion.toml").write_text("[gateway]\nprot = 1\n")
    done = run(tmp_path, "config", "check")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "stanchion: unknown key gateway.prot in stanchion.toml; did you mean 'port'?\n"


def test_help_that_nobody_reads_to_the_end_is_no_crash(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "stanchion", "config", "show"],
            stdout=writer,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            timeout=15,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr

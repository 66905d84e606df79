"""`stanchion simulate` as a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from stanchion.cli.simulate import command

RUN = "from stanchion.cli.simulate import command; command()"


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    path = tmp_path / "faults.json"
    path.write_text('["503", {"name": "cut", "after": 2}]')
    return path


@pytest.fixture
def process(faults: Path) -> Iterator[subprocess.Popen[str]]:
    flags = ["--port", "0", "--instant", "--rpm", "60", "--fault", "html", "--faults", str(faults)]
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        yield started
        started.kill()


def test_the_first_line_is_the_base_url_and_a_signal_ends_it_cleanly(process: subprocess.Popen[str]):
    assert process.stdout is not None
    base_url = process.stdout.readline().strip()
    with urllib.request.urlopen(f"{base_url.removesuffix('/v1')}/_sim/faults", timeout=5) as answer:
        planned = json.load(answer)["faults"]
    assert [fault["name"] for fault in planned] == ["html", "status", "cut"]
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=5)
    assert process.returncode == 0
    assert "stopped after 0 calls" in said
    assert "Traceback" not in said


def test_a_taken_port_is_said_without_a_traceback():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = CliRunner().invoke(command, ["--port", str(taken.getsockname()[1])])
    assert done.exit_code == 1
    assert "in use by another program; choose another with --port" in done.output


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--fault", "nonsense"], "no fault 'nonsense'"),
        (["--fault", "cut:x"], "cut"),
        (["--quota-mode", "x"], "x"),
    ],
)
def test_what_cannot_be_read_is_said_without_a_traceback(flags: list[str], said: str):
    done = CliRunner().invoke(command, flags)
    assert done.exit_code != 0
    assert said in done.output
    assert "Traceback" not in done.output


def test_the_help_teaches_by_example():
    said = CliRunner().invoke(command, ["--help"]).output
    assert "stanchion simulate --fault 503 --fault cut:5,end=abort" in said

"""A job's cap against what the provider counted, repairs over sockets, and the panel at a terminal."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest

from stanchion.simulator import SimulatorOptions, Timing
from tests.acceptance.batch_command import Folder
from tests.acceptance.served import PROGRAM, environ, wait_for
from tests.acceptance.stage import Provider

pty = pytest.importorskip("pty")
PRICE_IN, PRICE_OUT = 1.0, 2.0  # dollars per million tokens of sim-echo, as batch_command.py says


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_the_provider_counted_is_never_more_than_the_cap(tmp_path: Path, seed: int) -> None:
    """Answers of any length, calls that fail or break off, many open at once: the provider's own sum decides."""
    source = Random(seed)
    with Provider(SimulatorOptions(seed=seed, timing=Timing(ttft_s=0.01, tokens_per_s=5000.0))) as provider:
        provider.plan("503,rate=0.03", "cut_bytes:120,end=abort,rate=0.03")
        folder = Folder(tmp_path, provider)
        rows = [
            {"text": f"{number} " + "word, " * source.randint(1, 150), "most": source.randint(1, 400)}
            for number in range(600)
        ]
        lines = [
            {
                "custom_id": str(number),
                "url": "/v1/chat/completions",
                "body": {
                    "model": "sim-echo",
                    "max_tokens": row["most"],
                    "messages": [{"role": "user", "content": row["text"]}],
                },
            }
            for number, row in enumerate(rows)
        ]
        folder.write("in.jsonl", lines)
        cap = 0.05
        done = folder.batch(
            "run", "in.jsonl", "-o", "out.jsonl", "--max-cost", str(cap), "--concurrency", "100"
        )
        assert done.returncode == 3, done.stderr
        answered = [each for each in provider.calls if each.status == 200]
        counted = (
            sum(each.prompt_tokens * PRICE_IN + each.completion_tokens * PRICE_OUT for each in answered) / 1e6
        )
        told = json.loads(folder.batch("status", "out.jsonl", "--json").stdout)["spent_micro_usd"] / 1e6
    assert counted <= cap
    assert told <= cap
    # what stops it is one row that could cost more than is left: 1,100 bytes and 400 tokens, 0.002 dollars
    assert told >= 0.95 * cap
    # a call that broke off before it told what it used counts at its most; each sum is rounded to a micro-dollar
    assert counted <= told + len(answered) * 1e-6


class _Mending(BaseHTTPRequestHandler):
    """A model that answers wrongly until it is told what is wrong."""

    seen: list[dict[str, Any]]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append(asked)
        said = [each["content"] for each in asked["messages"]]
        hopeless = "never" in said[1]  # after what the system says
        text = '{"n": 7}' if len(said) > 2 and not hopeless else '{"n": "seven"}'
        body = json.dumps(
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": asked["model"],
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                ],
                "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
            }
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def mending() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    seen = list[dict[str, Any]]()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Mending", (_Mending,), {"seen": seen}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", seen
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_answer_that_does_not_fit_goes_back_with_what_is_wrong_with_it(
    tmp_path: Path, mending: tuple[str, list[dict[str, Any]]]
) -> None:
    base_url, seen = mending
    (tmp_path / "stanchion.toml").write_text(
        f'[providers.own]\nbase_url = "{base_url}"\nauth = "none"\n[prices."own/m"]\ninput = 100.0\noutput = 200.0\n'
    )
    folder = Folder.__new__(Folder)
    folder.path = tmp_path
    folder.write("in.jsonl", [{"text": "how many?"}, {"text": "never right"}])
    folder.write("ask.j2", "{{ text }}")
    folder.write("n.json", '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}')
    done = folder.batch("run", "in.jsonl", "-t", "ask.j2", "-m", "m", "--schema", "n.json", "-o", "out.jsonl")
    assert done.returncode == 2, done.stderr
    good, bad = folder.lines("out.jsonl")
    assert good["answer"] == {"n": 7}
    assert (good["answer_input_tokens"], good["answer_output_tokens"]) == (20, 10), "both tries are paid"
    assert good["answer_cost_usd"] == pytest.approx(2 * (10 * 100 + 5 * 200) / 1e6)
    assert bad["answer_status"] == "failed"
    assert '$.n: "seven" is not of type "integer"' in bad["answer_error"]
    assert folder.lines("out.errors.jsonl")[0]["error"]["code"] == "schema_mismatch"
    assert len(seen) == 4
    first = seen[0]
    assert "response_format" not in first, "an unknown provider is not sent what it may refuse"
    assert "JSON schema" in first["messages"][0]["content"]
    again = next(each for each in seen if len(each["messages"]) == 4)
    assert again["messages"][2] == {"role": "assistant", "content": '{"n": "seven"}'}
    assert "is not of type" in again["messages"][3]["content"]


@pytest.mark.timeout(60)
def test_the_panel_is_drawn_at_a_terminal_and_others_can_look(tmp_path: Path) -> None:
    with Provider(SimulatorOptions(timing=Timing(ttft_s=0.2, tokens_per_s=200.0))) as provider:
        folder = Folder(tmp_path, provider)
        folder.write("in.jsonl", [{"text": f"row {number}"} for number in range(2000)])
        folder.write("ask.j2", "{{ text }}")
        command = (
            "run",
            "in.jsonl",
            "-t",
            "ask.j2",
            "-m",
            "gpt-4o-mini",
            "-o",
            "out.jsonl",
            "--concurrency",
            "20",
        )
        process, ours = _at_a_terminal(tmp_path, command)
        try:
            shown = _read(ours, lambda text: re.search(r"in flight\s+20 .*sim/gpt-4o-mini", text, re.DOTALL))
            for part in ("in.jsonl -> out.jsonl", "tokens/s", "projected", "sim/gpt-4o-mini", "requests"):
                assert part in shown
            kept = tmp_path / "out.jsonl.stanchion" / "progress.json"
            wait_for(lambda: json.loads(kept.read_bytes())["in_flight"])
            told = json.loads(folder.batch("status", "out.jsonl", "--json").stdout)
            assert told["running"]
            assert told["last"]["in_flight"] > 0
            busy = folder.batch("run", *command[1:])
            assert busy.returncode == 1
            assert f"process {process.pid}" in busy.stderr
            os.kill(process.pid, signal.SIGINT)
            shown = _read(ours, lambda text: "the same command goes on from here" in text)
            assert process.wait(20) == 130
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        told = json.loads(folder.batch("status", "out.jsonl", "--json").stdout)
        assert not told["running"]
        assert not told["written"]
        assert told["answered"] > 0


def _at_a_terminal(folder: Path, command: tuple[str, ...]) -> tuple[subprocess.Popen[bytes], int]:
    """Start `stanchion batch` at a terminal of its own; return the process and our end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "batch", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=environ(folder, TERM="xterm", COLUMNS="120", LINES="40"),
        start_new_session=True,
    )
    os.close(theirs)
    return process, ours


def _read(terminal: int, until: Any) -> str:
    """Return what a terminal showed, without what steers it, once it has shown what is waited for."""
    raw, give_up_at = b"", time.monotonic() + 30
    while time.monotonic() < give_up_at:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                raw += os.read(terminal, 65536)
            except OSError:
                break
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", raw.decode(errors="replace"))
        if until(text):
            return text
    raise AssertionError(raw[-3000:].decode(errors="replace"))

"""The gateway over a server nobody here wrote: llama.cpp's, with a model of random weights made on the spot.

Its package compiles for ten minutes, so it lives in an environment of its own: make one with
`pip install 'llama-cpp-python[server]' gguf`, and name its interpreter in LLAMA_PYTHON.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

PYTHON = os.environ.get("LLAMA_PYTHON", "")
HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="LLAMA_PYTHON names no environment with llama-cpp-python"),
    pytest.mark.timeout(90),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until_served(url: str, process: subprocess.Popen[bytes], most_s: float = 40.0) -> None:
    give_up_at = time.monotonic() + most_s
    pause = threading.Event()  # never set: a bounded pause
    while time.monotonic() < give_up_at:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            pause.wait(0.1)
    raise AssertionError(f"nothing is served at {url}")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running llama.cpp server; its base URL."""
    model = tmp_path_factory.mktemp("model") / "tiny.gguf"
    subprocess.run([PYTHON, str(HERE / "tiny_model.py"), str(model)], check=True, timeout=60)
    port = free_port()
    command = [PYTHON, "-m", "llama_cpp.server", "--model", str(model), "--model_alias", "tiny"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "512"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_served(f"http://127.0.0.1:{port}/v1/models", process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def gateway(llama: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gateway as a user starts it: two variables in the environment, no file."""
    port = free_port()
    environ = {**os.environ, "OPENAI_API_KEY": "sk-not-needed-there", "OPENAI_BASE_URL": llama}
    environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    process = subprocess.Popen(
        [sys.executable, "-m", "stanchion", "serve", "--port", str(port)],
        env=environ,
        cwd=tmp_path_factory.mktemp("empty"),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        until_served(f"http://127.0.0.1:{port}/readyz", process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.fixture
def client(gateway: str) -> OpenAI:
    return OpenAI(base_url=gateway, api_key="any", max_retries=0)


def test_a_whole_answer_comes_through(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "Where is my order?"}], max_tokens=12, seed=1
    )
    assert answer.choices[0].finish_reason in ("length", "stop")
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_a_stream_is_what_the_server_itself_streams(client: OpenAI, llama: str) -> None:
    def streamed(by: OpenAI) -> tuple[str, str | None]:
        question = [{"role": "user", "content": "我的订单到哪里了？"}]
        asked = {"model": "tiny", "max_tokens": 24, "seed": 3, "temperature": 0, "stream": True}
        with by.chat.completions.create(messages=question, **asked) as stream:  # type: ignore[call-overload]
            chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        return text, chunks[-1].choices[0].finish_reason

    assert streamed(client) == streamed(OpenAI(base_url=llama, api_key="any", max_retries=0))


def test_its_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]


def test_its_refusal_comes_through_with_its_words(client: OpenAI) -> None:
    with pytest.raises(Exception, match=r"context|token") as caught:
        client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "too long " * 2000}], max_tokens=8
        )
    assert getattr(caught.value, "status_code", None) in (400, 413, 500)

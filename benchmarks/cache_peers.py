"""LiteLLM beside our cache: its library and its proxy, each with its cache in memory on and else as they come."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.machine import free_port
from benchmarks.payloads import KEY, MODEL
from benchmarks.peers import python_of
from benchmarks.processes import Worker, environment, server, worker

_START_S = 150.0  # it loads for long


def _environment() -> dict[str, str]:
    # its prices come with it: it must not look for them in the network
    env = environment(LITELLM_LOCAL_MODEL_COST_MAP="True")
    env["PYTHONPATH"] = env["PYTHONPATH"].split(":")[0]
    return env


@contextmanager
def library() -> Generator[Worker]:
    """Run its library."""
    words = [str(python_of("litellm")), "-m", "benchmarks.cache_litellm_worker"]
    with worker(words, core=0, env=_environment()) as running:
        running.answer()  # it has loaded
        yield running


@contextmanager
def proxy(base_url: str) -> Generator[tuple[int, int]]:
    """Run its proxy; gives its port and its process."""
    port = free_port()
    upstream = {"model": f"openai/{MODEL}", "api_base": base_url, "api_key": KEY}
    settings = {
        "model_list": [{"model_name": MODEL, "litellm_params": upstream}],
        # its callers need no key, as ours: that is less work for it
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
        "litellm_settings": {"cache": True, "cache_params": {"type": "local"}},
    }
    with TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
        program = python_of("litellm").with_name("litellm")
        words = [str(program), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
        with server(words, port, core=0, env=_environment(), within_s=_START_S) as running:
            yield port, running.pid

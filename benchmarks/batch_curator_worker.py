"""curator's online processor over the rows of an input, in a process of its interpreter.

`python -m benchmarks.batch_curator_worker`; an order is {"base_url": ..., "source": ..., "folder": ..., "most": 200}:
seconds of the work, which begins when all is imported, and its version.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from bespokelabs import curator  # pyright: ignore[reportMissingImports] - it is in an environment of its own
from datasets import Dataset  # pyright: ignore[reportMissingImports]

from benchmarks.payloads import KEY, MODEL

_NO_LIMIT = 10**9  # a minute


class Rows(curator.LLM):  # pyright: ignore[reportUntypedBaseClass]
    """Asks what a row asks, and keeps its id beside the answer."""

    def prompt(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        return row["messages"]

    def parse(self, row: dict[str, Any], response: str) -> dict[str, Any]:
        return {"custom_id": row["custom_id"], "response": response}


def read(source: Path) -> Dataset:
    """Return the rows as curator takes them: what is no message is a parameter of the row's call."""
    rows = list[dict[str, str]]()
    with source.open("rb") as file:
        for line in file:
            row = json.loads(line)
            body = row["body"]
            messages, _ = body.pop("messages"), body.pop("model")
            told = {"custom_id": row["custom_id"], "messages": messages}
            rows.append({**told, "generation_params": json.dumps(body)})
    return Dataset.from_list(rows)


def main() -> None:
    """Obey one order."""
    order = json.loads(sys.stdin.readline())
    # tokens are counted with the vocabulary that came with a package: it must not look for one in the network
    os.environ["TIKTOKEN_CACHE_DIR"] = str(files("litellm") / "litellm_core_utils" / "tokenizers")
    began_at = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        rows = read(Path(order["source"]))
        limits = {
            "max_requests_per_minute": _NO_LIMIT,
            "max_tokens_per_minute": _NO_LIMIT,
            "max_concurrent_requests": order["most"],
        }
        params = {"base_url": order["base_url"], "api_key": KEY, **limits}
        ask = Rows(model_name=MODEL, backend="openai", backend_params=params)
        answered = ask(rows, working_dir=order["folder"]).dataset
    seconds = time.perf_counter() - began_at
    assert sorted(answered["custom_id"]) == sorted(rows["custom_id"])
    assert all(answered["response"])
    print(json.dumps({"seconds": seconds, "version": version("bespokelabs-curator")}))


if __name__ == "__main__":
    main()

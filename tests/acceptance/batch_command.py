"""`stanchion batch` as a user runs it, in a folder of its own, against a simulated provider with prices."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.acceptance.served import PROGRAM, environ
from tests.acceptance.stage import Provider

SETTINGS = """
[providers.sim]
preset = "simulator"
base_url = "{base_url}"
models = ["gpt-*", "sim-*"]

[providers.other]  # nobody is there, and no price is known
base_url = "http://127.0.0.1:9/v1"
auth = "none"
models = ["other"]

[prices."sim/gpt-4o-mini"]
input = 0.15
output = 0.6

[prices."sim/sim-echo"]
input = 1.0
output = 2.0

[retry]
base_s = 0.01
"""


class Folder:
    """Where somebody has files and settings, and gives commands."""

    def __init__(self, path: Path, provider: Provider, settings: str = "") -> None:
        self.path = path
        text = SETTINGS.format(base_url=provider.base_url) + settings
        (path / "stanchion.toml").write_text(text, encoding="utf-8")

    def write(self, name: str, content: str | bytes | Sequence[Any]) -> Path:
        """Write a file; a list becomes JSON lines."""
        file = self.path / name
        if isinstance(content, str):
            content = content.encode()
        if not isinstance(content, bytes):
            content = b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in content)
        file.write_bytes(content)
        return file

    def batch(
        self, *arguments: str, given: bytes | None = None, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `stanchion batch ARGUMENTS` to its end, with more variables."""
        done = subprocess.run(
            [*PROGRAM, "batch", *arguments],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            cwd=self.path,
            env=environ(self.path, **(more or {})),
            timeout=240,
            check=False,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def lines(self, name: str) -> list[Any]:
        """Read a file of JSON lines."""
        return [json.loads(line) for line in (self.path / name).read_bytes().splitlines()]

"""The fuzzers run, for a moment; longer runs are started by hand."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python"
)
@pytest.mark.parametrize("name", ["fuzz_sse.py", "fuzz_answers.py"])
def test_a_short_run_finds_nothing(name: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "event").write_bytes(
        b'\x01event: error\r\ndata: {"choices":[{"delta":{"content":"x"}}]}\n\ndata: [DONE]\r\r'
    )
    (corpus / "answer").write_bytes(
        b'{"error":{"message":"try again in 6m0s","code":"c"},"choices":[],"usage":{}}'
    )
    (corpus / "date").write_bytes(b"Tue, 24 Nov 2026 12:00:30 GMT")
    done = subprocess.run(
        [sys.executable, str(HERE / name), "-runs=3000", "-max_len=300", "-seed=1", str(corpus)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=18,
    )
    assert done.returncode == 0, done.stderr[-3000:]

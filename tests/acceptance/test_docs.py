"""Every block of code in the README and on the first page runs as it stands, in both languages.

`sh` and `python` blocks are run one after the other, as a reader would, against `stanchion serve` with the
built-in simulator; only its port is another one. A block with a `make` command is not run, for that would serve
or test for ever: its targets must exist. A `toml` block that begins with a file's name is written to that file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.served import Served, environ

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "README.zh-CN.md", "docs/start.md", "docs/zh/start.md"]
ADDRESS = "127.0.0.1:8080"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_MAKE = re.compile(r"^make (\w+)", re.M)
_RUN = {"sh": ["bash", "-u", "-c"], "python": [sys.executable, "-c"]}
# what a block must have written, by a word that stands in it
SAYS = {
    "fault-cut": " 18\n",
    "fault-503": "HTTP/1.1 503",
    "curl -i": "HTTP/1.1",
    "stream.usage": "output=",
    "config check": "stanchion.toml",
    "curl -N": "data: [DONE]",
    "batch run": "2\n",
}


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the language and the text of every block, in order."""
    return _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def said_by(text: str) -> str:
    return next((said for word, said in SAYS.items() if word in text), "")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served")) as running:
        yield running


def run(language: str, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    found = environ(folder, PYTHONPATH=str(ROOT / "src"), OPENAI_API_KEY="any", DEEPSEEK_API_KEY="any")
    found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{found['PATH']}"
    return subprocess.run(
        [*_RUN[language], text],
        cwd=folder,
        env=found,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.timeout(90)
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_the_page_runs(page: str, served: Served, tmp_path: Path) -> None:
    found = blocks(page)
    assert {"sh", "python"} <= {language for language, _ in found}
    for language, text in found:
        if language == "toml":
            name = text.split("\n", 1)[0].removeprefix("#").strip()
            tomllib.loads(text)
            (tmp_path / name).write_text(text, encoding="utf-8")
            continue
        if _MAKE.search(text):
            continue
        assert ADDRESS in text or language == "sh", f"{page}: this block would not meet the gateway:\n{text}"
        done = run(language, text.replace(ADDRESS, served.origin.removeprefix("http://")), tmp_path)
        assert done.returncode == 0, f"{page}:\n{text}\n{done.stdout}\n{done.stderr}"
        assert done.stdout.strip(), f"{page}: this block wrote nothing:\n{text}"
        assert said_by(text) in done.stdout, f"{page}:\n{text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_every_make_command_of_the_page_is_a_target(page: str) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    asked = [target for _, text in blocks(page) for target in _MAKE.findall(text)]
    assert asked
    assert set(asked) <= set(targets)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_the_page_is_of_a_kind_that_is_checked(page: str) -> None:
    assert {language for language, _ in blocks(page)} <= {"sh", "python", "toml"}


@pytest.mark.parametrize(("one", "other"), [PAGES[:2], PAGES[2:]])
def test_both_languages_show_the_same_code(one: str, other: str) -> None:
    def bare(page: str) -> list[str]:
        text = "\n\0\n".join(text for _, text in blocks(page))
        kept = re.sub(r"#.*|[^\x00-\x7f]+|Where is my order\?|Hello|exit code", "", text)
        return [" ".join(line.split()) for line in kept.split("\n")]

    assert bare(one) == bare(other)

"""The line the user writes, and the history of such lines."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from stanchion.cli.prompt import Prompt, history_file

readline = pytest.importorskip("readline")


def remember(file: Path | None, *lines: str) -> Prompt:
    prompt = Prompt(file, ("/help", "/model", "/new"))
    for line in lines:
        prompt._remember(line)
    prompt.close()
    return prompt


def recalled() -> list[str]:
    return [readline.get_history_item(n + 1) for n in range(readline.get_current_history_length())]


def test_the_history_is_remembered_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    file = tmp_path / "state" / "stanchion" / "chat_history"
    remember(file, "Hello", "  ", "two\nlines", "你好")
    assert file.read_text(encoding="utf-8") == "Hello\ntwo lines\n你好\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    remember(file)
    assert recalled() == ["Hello", "two lines", "你好"]


def test_a_history_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    file = tmp_path / "chat_history"
    file.write_text("old\n")
    file.chmod(0o644)
    remember(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_a_file_nothing_is_written_and_nothing_recalled(tmp_path: Path) -> None:
    remember(tmp_path / "chat_history", "Hello")
    remember(None, "secret")
    assert recalled() == ["secret"]
    assert (tmp_path / "chat_history").read_text() == "Hello\n"


def test_a_history_that_cannot_be_used_is_told_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    prompt = remember(tmp_path / "state" / "chat_history", "Hello")
    assert "chat_history" in prompt.problem
    assert recalled() == ["Hello"]


def test_a_history_stays_within_bounds(tmp_path: Path) -> None:
    file = tmp_path / "chat_history"
    file.write_text("".join(f"line {n}\n" for n in range(5000)))
    remember(file)
    lines = file.read_text().splitlines()
    assert len(lines) == 2000
    assert lines[-1] == "line 4999"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_STATE_HOME": "/state"}, Path("/state/stanchion/chat_history")),
        ({"XDG_STATE_HOME": "relative"}, Path.home() / ".local/state/stanchion/chat_history"),
        ({}, Path.home() / ".local/state/stanchion/chat_history"),
    ],
)
def test_the_history_stands_where_the_xdg_rules_put_it(environ: dict[str, str], expected: Path) -> None:
    assert history_file(environ) == expected


def test_commands_are_completed_and_words_are_not(tmp_path: Path) -> None:
    prompt = Prompt(None, ("/help", "/model", "/new"))
    assert prompt._complete("/mo", 0) == "/model "
    assert prompt._complete("/mo", 1) is None
    assert prompt._complete("mo", 0) is None

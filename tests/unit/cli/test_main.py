"""The command itself: finding commands, and turning failures into one line and an exit code."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stanchion.cli.main import _only, main
from stanchion.core.errors import SettingsError


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """A machine on which nothing is configured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "")


def test_help_lists_every_command_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for name in ("serve", "chat", "simulate", "keys", "config", "version"):
        assert f"\n  {name} " in said
    assert "Examples:\n    stanchion serve\n" in said


@pytest.mark.parametrize("command", ["serve", "chat", "simulate", "keys", "config", "version"])
def test_the_help_of_every_command_has_an_example_on_a_line_of_its_own(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"\n    stanchion {command}" in said
    assert "\\b" not in said


def test_help_and_version_load_nothing_that_they_do_not_need() -> None:
    script = (
        "import sys; from stanchion.cli.main import main; main(['--help']); main(['version']);"
        "sys.exit(any(name in sys.modules for name in ('aiohttp', 'granian', 'stanchion.engine', 'rich')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0


def test_an_unknown_command_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serv"]) == 2
    assert "there is no command 'serv'; did you mean 'serve'?" in capsys.readouterr().err


def test_an_unknown_option_is_a_wrong_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--colour"]) == 2
    assert "--colour" in capsys.readouterr().err


def test_bad_settings_are_one_line_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "--set", "retry.atempts=5"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("stanchion: unknown key retry.atempts")
    assert "did you mean 'attempts'?" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["-v", "config", "check", "--set", "retry.atempts=5"],
        ["config", "check", "-v", "--set", "retry.atempts=5"],
    ],
)
def test_verbose_shows_the_traceback_wherever_it_stands(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_setting_without_a_value_is_a_wrong_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "--set", "retry.attempts"]) == 2
    assert "must be KEY=VALUE" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "init", "nowhere/stanchion.toml"]) == 1
    assert capsys.readouterr().err == "stanchion: nowhere/stanchion.toml: No such file or directory\n"


def test_version_names_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("stanchion ")
    for name in ("python", "aiohttp", "granian", "msgspec"):
        assert f"\n{name} " in said


def test_the_one_error_of_nested_groups_is_taken_out() -> None:
    error = SettingsError("taken")
    assert _only(ExceptionGroup("", [ExceptionGroup("", [error])])) is error
    two = ExceptionGroup("", [error, error])
    assert _only(two) is two
    assert _only(error) is error

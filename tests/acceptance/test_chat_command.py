"""`stanchion chat` as a script uses it, and as a person at a terminal does."""

from __future__ import annotations

import os
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from stanchion.simulator import SimulatorOptions, Timing
from tests.acceptance.served import PROGRAM, environ, run, wait_for
from tests.acceptance.stage import Provider

pty = pytest.importorskip("pty")

# A new session takes the terminal as its own, so that Ctrl-C there is for it; then it becomes the command.
_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Provider]:
    with Provider(SimulatorOptions(timing=Timing(tokens_per_s=400))) as running:
        yield running


@pytest.fixture
def provider(shared: Provider) -> Provider:
    shared.plan()
    return shared


def real(provider: Provider) -> dict[str, str]:
    """The environment of somebody who has a key."""
    return {"OPENAI_API_KEY": "sk-canary-77", "OPENAI_BASE_URL": provider.base_url}


class Terminal:
    """A chat at a terminal."""

    def __init__(self, home: Path, *arguments: str, **more: str) -> None:
        self._home = home
        self._arguments = arguments
        self._environ = environ(home, TERM="xterm", COLUMNS="100", LINES="40", **more)
        self.raw = b""

    def __enter__(self) -> Self:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *PROGRAM, "chat", *self._arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self._home,
            env=self._environ,
            start_new_session=True,
        )
        os.close(theirs)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    @property
    def shown(self) -> str:
        """All that was written, without what steers the terminal."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r", "", self.raw.decode(errors="replace"))

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def until(self, *texts: str, times: int = 1) -> None:
        """Wait until each of the texts was written so many times."""
        self._read_until(lambda: all(self.shown.count(text) >= times for text in texts))

    def interrupt_until(self, text: str) -> None:
        """Press Ctrl-C until it is seen.

        readline overlooks one that comes in the 50 us between its prompt and its wait, until the next key.
        """

        next_at = 0.0

        def pressed() -> bool:
            nonlocal next_at
            if text in self.shown:
                return True
            if time.monotonic() >= next_at:
                self.type("\x03")
                next_at = time.monotonic() + 0.5
            return False

        self._read_until(pressed)

    def ended(self) -> int:
        """Wait for its end; return its exit code."""
        self._read_until(lambda: self.process.poll() is not None)
        return self.process.wait(5)

    def _read_until(self, condition) -> None:
        give_up_at = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < give_up_at, self.shown
            if select.select([self._ours], [], [], 0.05)[0]:
                try:
                    self.raw += os.read(self._ours, 65536)
                except OSError:  # Linux says so when the other side has closed
                    self.process.wait(5)


def test_piped_input_is_answered_on_standard_output_alone(tmp_path: Path, provider: Provider) -> None:
    done = run(tmp_path, "chat", given="hi\n", **real(provider))
    assert done.returncode == 0
    assert done.stdout.strip()
    assert done.stdout.endswith("\n")
    assert done.stderr == ""
    assert len(provider.calls) == 1


def test_piped_input_follows_the_question(tmp_path: Path, provider: Provider) -> None:
    done = run(tmp_path, "chat", "Say it again:", "--model", "sim-echo", given="a b c", **real(provider))
    assert done.stdout == "Say it again:\n\na b c\n"


def test_without_a_key_the_simulator_answers_with_a_notice(tmp_path: Path) -> None:
    done = run(tmp_path, "chat", given="hi")
    assert done.returncode == 0
    assert done.stdout.strip()
    assert "the built-in simulator answers" in done.stderr
    assert "OPENAI_API_KEY" in done.stderr


def test_the_notice_is_chinese_in_a_chinese_locale(tmp_path: Path) -> None:
    done = run(tmp_path, "chat", given="你好", LANG="zh_CN.UTF-8", LC_ALL="")
    assert "内置模拟器" in done.stderr
    assert done.returncode == 0


def test_a_cut_answer_is_marked_and_fails(tmp_path: Path, provider: Provider) -> None:
    provider.plan("cut:5")
    done = run(tmp_path, "chat", given="Where is my order?", **real(provider))
    assert done.returncode == 1
    assert done.stdout.strip(), "what came is shown"
    assert done.stderr.startswith("THE ANSWER WAS CUT HERE: ")
    assert done.stderr.count("\n") == 1


def test_an_error_is_one_line_with_the_providers_words_and_no_key(tmp_path: Path, provider: Provider) -> None:
    provider.plan("401")
    done = run(tmp_path, "chat", given="hi", **real(provider))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "401" in done.stderr
    assert "sk-canary-77" not in done.stderr


def test_no_question_at_all_is_a_wrong_question(tmp_path: Path) -> None:
    assert run(tmp_path, "chat").returncode == 2


def test_ctrl_c_ends_a_single_answer_with_130(tmp_path: Path) -> None:
    with Provider(SimulatorOptions(timing=Timing(tokens_per_s=2))) as slow:
        process = subprocess.Popen(
            [*PROGRAM, "chat", "A long story"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=environ(tmp_path, **real(slow)),
        )
        wait_for(lambda: slow.running)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=5)
        assert process.returncode == 130
        wait_for(lambda: not slow.running)


def test_a_conversation_shows_what_an_answer_took(tmp_path: Path, provider: Provider) -> None:
    (tmp_path / "stanchion.toml").write_text('[prices."gpt-4o-mini"]\ninput = 1000\noutput = 1000\n')
    with Terminal(tmp_path, **real(provider)) as terminal:
        terminal.until("Talking to gpt-4o-mini through openai", "you> ")
        terminal.type("Hello\r")
        terminal.until(" tokens (", " · $0.0", " s · first word after")
        terminal.until("you> ", times=2)  # a Ctrl-D before it is ready would be lost
        terminal.type("\x04")
        assert terminal.ended() == 0
    history = tmp_path / ".local/state/stanchion/chat_history"
    assert history.read_text() == "Hello\n"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_the_conversation_is_sent_along_and_new_forgets_it(tmp_path: Path, provider: Provider) -> None:
    with Terminal(tmp_path, "--no-history", "--system", "Be brief.", **real(provider)) as terminal:
        terminal.until("you> ")
        for number, line in enumerate(("One", "Two", "/new", "Three"), 2):
            terminal.type(f"{line}\r")
            terminal.until("you> ", times=number)
        terminal.type("/quit\r")
        assert terminal.ended() == 0
    tokens = [call.prompt_tokens for call in provider.calls]
    assert len(tokens) == 3
    assert tokens[1] > tokens[0]
    assert tokens[2] == tokens[0]
    assert not (tmp_path / ".local").exists()


def test_ctrl_c_stops_the_answer_and_not_the_program(tmp_path: Path) -> None:
    with (
        Provider(SimulatorOptions(timing=Timing(tokens_per_s=5))) as slow,
        Terminal(tmp_path, **real(slow)) as terminal,
    ):
        terminal.until("you> ")
        terminal.type("A long story\r")
        wait_for(lambda: slow.running)
        terminal.until("waiting for the answer")
        terminal.type("\x03")
        terminal.until("stopped")
        wait_for(lambda: not slow.running)
        terminal.until("you> ", times=2)
        terminal.type("/model other\r")
        terminal.until("The model is other.")
        terminal.until("you> ", times=3)
        terminal.interrupt_until("/quit or Ctrl-D ends.")
        terminal.until("you> ", times=4)  # a Ctrl-D before it is ready would be lost, as in any terminal
        terminal.type("\x04")
        assert terminal.ended() == 0


def test_commands_show_save_and_name_the_nearest(tmp_path: Path, provider: Provider) -> None:
    with Terminal(tmp_path, **real(provider)) as terminal:
        terminal.until("you> ")
        terminal.type("/help\r")
        terminal.until("/save [FILE]")
        terminal.type("/modl\r")
        terminal.until("There is no command /modl; /model?")
        terminal.type("/model\r")
        terminal.until("The providers offer: ", "gpt-4o-mini")
        terminal.type("/save talk.md\r")
        terminal.until("There is nothing to save yet.")
        terminal.type("Hello\r")
        terminal.until(" tokens (")
        terminal.type("/save talk.md\r")
        terminal.until("Written to talk.md.")
        terminal.type("/save talk.md\r")
        terminal.until("talk.md: File exists")
        terminal.type("/quit\r")
        assert terminal.ended() == 0
    assert "## You\n\nHello\n" in (tmp_path / "talk.md").read_text()


def test_a_failed_question_is_told_and_not_kept(tmp_path: Path, provider: Provider) -> None:
    provider.plan("400", "cut:4")
    with Terminal(tmp_path, **real(provider)) as terminal:
        terminal.until("you> ")
        terminal.type("Hello\r")
        terminal.until("No answer: ", "400")
        terminal.type("Hello\r")
        terminal.until("THE ANSWER WAS CUT HERE")
        terminal.type("/new\r")
        terminal.type("Hello\r")
        terminal.until(" tokens (")
        terminal.type("/quit\r")
        assert terminal.ended() == 0
    failed, cut, whole = provider.calls
    assert failed.status == 400
    assert cut.prompt_tokens == whole.prompt_tokens


@pytest.mark.skipif(sys.platform == "darwin", reason="libedit")
def test_a_line_that_ends_in_a_backslash_goes_on(tmp_path: Path, provider: Provider) -> None:
    with Terminal(tmp_path, "--model", "sim-echo", **real(provider)) as terminal:
        terminal.until("you> ")
        terminal.type("first\\\rsecond\r")
        terminal.until(" tokens (")
        terminal.type("/save talk.json\r")
        terminal.until("Written to talk.json.")
        terminal.type("/quit\r")
        assert terminal.ended() == 0
    assert '"first\\nsecond"' in (tmp_path / "talk.json").read_text()

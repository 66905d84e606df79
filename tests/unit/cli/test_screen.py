"""How an answer grows on a screen."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stanchion.cli.screen import MarkdownScreen, PlainScreen, _whole_blocks, harmless


@pytest.mark.parametrize(
    ("text", "done", "rest"),
    [
        ("one", "", "one"),
        ("one\n\ntwo", "one", "two"),
        ("one\n\n", "one", ""),
        ("one\n\ntwo\n\nthree", "one\n\ntwo", "three"),
        ("```py\na\n\nb", "", "```py\na\n\nb"),
        ("```py\na\n\nb\n```\n\nafter", "```py\na\n\nb\n```", "after"),
        ("````\n```\n\nx\n````\n\ny", "````\n```\n\nx\n````", "y"),
        ("~~~\n```\n\nx\n~~~\n\ny", "~~~\n```\n\nx\n~~~", "y"),
        ("one\n ", "", "one\n "),
    ],
)
def test_text_is_cut_before_the_block_that_still_grows(text: str, done: str, rest: str) -> None:
    assert _whole_blocks(text) == (done, rest)


def test_nothing_that_steers_a_terminal_passes() -> None:
    assert harmless("a\x1b[2J\x07b\x9bc\rd\ne\tf\x7f") == "a[2Jbcd\ne\tf"
    assert harmless("你好, naïve 🙂") == "你好, naïve 🙂"


def test_a_plain_screen_writes_what_comes_and_ends_the_line() -> None:
    out = io.StringIO()
    screen = PlainScreen(out)
    for answer in (["Hel", "", "lo"], ["done\n"], []):
        screen.begin("waiting")
        for text in answer:
            screen.add(text)
        screen.end()
    assert out.getvalue() == "Hello\ndone\n"


def test_a_markdown_screen_ends_with_the_whole_answer_rendered() -> None:
    out = io.StringIO()
    screen = MarkdownScreen(Console(file=out, force_terminal=True, width=60, height=10, color_system=None))
    screen.begin("waiting")
    for text in ("# Ti", "tle\n\nSome **bo", "ld** text\x1b]0;evil\x07\n\n1. one\n2. two"):
        screen.add(text)
    screen.end()
    said = out.getvalue()
    assert "Title" in said
    assert "bold text" in said.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert "\x1b]0;" not in said
    assert "2 two" in said


def test_an_answer_longer_than_the_screen_ends_with_its_last_line() -> None:
    out = io.StringIO()
    screen = MarkdownScreen(Console(file=out, force_terminal=True, width=40, height=5, color_system=None))
    screen.begin("waiting")
    screen.add("```\n" + "\n".join(f"line {n}" for n in range(50)) + "\n```")
    screen.end()
    assert "line 49" in out.getvalue()
    assert "line 0" in out.getvalue()

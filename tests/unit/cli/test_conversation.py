"""A conversation, its file, and its words in two languages."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import msgspec
import pytest

from stanchion.cli.conversation import Conversation
from stanchion.cli.words import CHINESE, ENGLISH, words_for


@pytest.fixture
def talk() -> Conversation:
    talk = Conversation("gpt-4o-mini", "Be brief.")
    talk.ask("Hello")
    talk.answer("Good day")
    return talk


def test_the_systems_words_come_first(talk: Conversation) -> None:
    assert [each["role"] for each in talk.messages()] == ["system", "user", "assistant"]


def test_a_question_without_an_answer_is_taken_back(talk: Conversation) -> None:
    before = talk.messages()
    talk.ask("And now?")
    talk.answer("")
    assert talk.messages() == before


def test_a_new_conversation_keeps_the_systems_words(talk: Conversation) -> None:
    talk.clear()
    assert talk.messages() == [{"role": "system", "content": "Be brief."}]


def test_it_is_saved_as_markdown_that_only_its_owner_reads(talk: Conversation, tmp_path: Path) -> None:
    file = tmp_path / "talk.md"
    talk.save(file, ENGLISH)
    assert "## You\n\nHello\n\n## Assistant\n\nGood day\n" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_it_is_saved_as_json_that_can_be_sent_again(talk: Conversation, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    talk.save(file, ENGLISH)
    assert json.loads(file.read_text()) == {"model": "gpt-4o-mini", "messages": talk.messages()}


def test_a_file_that_is_there_is_never_overwritten(talk: Conversation, tmp_path: Path) -> None:
    file = tmp_path / "talk.md"
    file.write_text("mine")
    with pytest.raises(FileExistsError):
        talk.save(file, ENGLISH)
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, ENGLISH),
        ({"LANG": "zh_CN.UTF-8"}, CHINESE),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, ENGLISH),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "zh_TW.UTF-8"}, CHINESE),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, CHINESE),
    ],
)
def test_the_language_follows_the_locale(environ: dict[str, str], words: object) -> None:
    assert words_for(environ) is words


def test_both_languages_fill_in_the_same_names() -> None:
    names = {"model", "providers", "names", "file", "name", "hint", "why", "total", "asked", "answered"}
    for field in ENGLISH.__struct_fields__:
        english, chinese = getattr(ENGLISH, field), getattr(CHINESE, field)
        for name in (*names, "seconds:.1f", "count"):
            assert (f"{{{name}}}" in english) == (f"{{{name}}}" in chinese), field
    assert len(msgspec.structs.asdict(CHINESE)) == len(msgspec.structs.asdict(ENGLISH))
